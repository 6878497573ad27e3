//! The server over a socket, on both databases.

mod agree;
mod condstore;
mod folders;
mod ground;
mod login;
mod mail;
mod memory;
mod programs;
mod revoked;
mod scram;
mod sessions;
