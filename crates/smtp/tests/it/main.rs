//! One executable for all tests that need more than one module.

mod common;
mod extensions;
mod random;
mod services;
mod sockets;
mod transcripts;
