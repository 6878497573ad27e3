//! The binary as its users meet it: real processes, real sockets, real files.

mod backup;
mod bad_input;
mod doctor;
mod judge;
mod postgres;
mod serve;
mod site;
mod transcripts;
mod two_servers;
mod web;
