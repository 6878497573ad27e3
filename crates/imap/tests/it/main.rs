//! The server over a socket, on both databases.

mod folders;
mod ground;
mod login;
mod mail;
mod sessions;
