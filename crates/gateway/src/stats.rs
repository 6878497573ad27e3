//! What the gateway counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters since the start.
#[derive(Debug, Default)]
pub struct GatewayStats {
    /// Mails answered 250.
    pub accepted_count: AtomicU64,
    /// Mails refused by policy.
    pub rejected_count: AtomicU64,
    /// Mails answered 4yz.
    pub deferred_count: AtomicU64,
    /// Resends of our own copies that were suppressed.
    pub resend_suppressed_count: AtomicU64,
    /// Mails delivered unjudged, since judging failed and the organisation wants it so.
    pub unjudged_count: AtomicU64,
    /// Mails delivered unjudged, since an administrator had switched judging off.
    pub bypassed_count: AtomicU64,
    /// Copies put into an inbox.
    pub inbox_count: AtomicU64,
    /// Copies put into Junk.
    pub junk_count: AtomicU64,
    /// Copies held.
    pub held_count: AtomicU64,
    /// Recipients refused as unknown.
    pub unknown_recipient_count: AtomicU64,
    /// Recipients refused as foreign.
    pub relay_denied_count: AtomicU64,
}

impl GatewayStats {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
