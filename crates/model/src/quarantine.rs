//! The quarantine's words (Exchange Online's, since its users know them).

use crate::VerdictClass;
use crate::event::text_enum;
use serde::{Deserialize, Serialize};

text_enum! {
    /// Why a copy is held.
    QuarantineReason {
        /// Malware.
        Malware = "malware",
        /// High confidence phishing.
        HighConfidencePhish = "high_confidence_phish",
        /// Phishing, spoof or impersonation.
        Phish = "phish",
        /// Spam, including high confidence spam.
        Spam = "spam",
        /// Bulk.
        Bulk = "bulk",
        /// A file type that the policy does not let in.
        FileTypeBlock = "file_type_block",
        /// An entry of the allow/block list.
        BlockList = "block_list",
    }
}

impl QuarantineReason {
    /// The reason for a verdict's class; `Clean` has none of its own and counts as spam.
    pub fn of(class: VerdictClass) -> Self {
        match class {
            VerdictClass::Malware => QuarantineReason::Malware,
            VerdictClass::HighConfidencePhish => QuarantineReason::HighConfidencePhish,
            VerdictClass::Phish | VerdictClass::Spoof | VerdictClass::Impersonation => QuarantineReason::Phish,
            VerdictClass::HighConfidenceSpam | VerdictClass::Spam | VerdictClass::Clean => QuarantineReason::Spam,
            VerdictClass::Bulk => QuarantineReason::Bulk,
        }
    }

    /// Whether only an analyst with a fresh verdict may free it.
    pub fn needs_analyst(self) -> bool {
        matches!(self, QuarantineReason::Malware | QuarantineReason::HighConfidencePhish)
    }
}

text_enum! {
    /// The release status of a held copy. Shown: *needs review*, *release requested*, *denied*, *released*, *expired*.
    ReleaseStatus {
        /// Nobody has decided.
        NeedsReview = "needs_review",
        /// Somebody asked.
        Requested = "requested",
        /// Asked and refused.
        Denied = "denied",
        /// Freed (or put back).
        Released = "released",
        /// Retention ended.
        Expired = "expired",
    }
}
