//! The binary as its users meet it: real processes, real sockets, real files.

mod app_passwords;
mod backup;
mod bad_input;
mod bounces;
mod bypass;
mod cluster;
mod dkim;
mod doctor;
mod dovecot;
mod imap_programs;
mod judge;
mod mail_programs;
mod postgres;
mod pressure;
mod queue;
mod serve;
mod silence;
mod site;
mod transcripts;
mod two_servers;
mod web;
