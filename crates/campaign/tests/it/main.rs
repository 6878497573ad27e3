//! Campaigns on both databases, against the real store and the real directory.

mod authoring;
mod dispatch;
mod ground;
mod tracking;
