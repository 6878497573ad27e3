//! The server over a socket, on both databases.

mod agree;
mod folders;
mod ground;
mod login;
mod mail;
mod sessions;
