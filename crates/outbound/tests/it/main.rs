//! One executable for all tests that need more than one module.

mod agent;
mod common;
mod faults;
mod hosts;
mod postfix;
mod queue;
mod ways;
