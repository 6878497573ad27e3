//! Campaigns on both databases, against the real store and the real directory.

mod authoring;
mod dispatch;
mod faults;
mod ground;
mod tracking;
