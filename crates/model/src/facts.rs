//! What was observed about a message: the sole input of a verdict, stored with the message and never recomputed by a replay.
//!
//! Everything here is bounded by whoever fills it (`message::Limits`). A field that could not be observed says so
//! (`none`, empty), it is never a guess.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::event::text_enum;
use crate::{CampaignId, CopyId, ReversePath, Timestamp};

text_enum! {
    /// One authentication result (RFC 8601 section 2.7).
    AuthResult {
        /// Not checked, or nothing to check.
        None = "none",
        /// Passed.
        Pass = "pass",
        /// Failed.
        Fail = "fail",
        /// SPF `~all`.
        SoftFail = "softfail",
        /// SPF `?all`, or no statement.
        Neutral = "neutral",
        /// The names could not be looked up now.
        TempError = "temperror",
        /// The record or signature is broken.
        PermError = "permerror",
    }
}

text_enum! {
    /// What the From domain asks for when DMARC fails (RFC 9989).
    DmarcPolicy {
        /// No record, or `p=none`.
        None = "none",
        /// `p=quarantine`
        Quarantine = "quarantine",
        /// `p=reject`
        Reject = "reject",
    }
}

text_enum! {
    /// Composite authentication: what SPF, DKIM, DMARC and ARC say together about the From domain.
    CompositeResult {
        /// Not checked, or bypassed.
        None = "none",
        /// It is who it says it is.
        Pass = "pass",
        /// Weak marks speak for it, and nothing against it.
        SoftPass = "softpass",
        /// It could not prove to be who it says it is.
        Fail = "fail",
    }
}

/// Composite authentication with its reason, three digits: 000 explicit fail, 001 implicit fail, 002 forbidden by an entry of
/// ours, 010 explicit and 601 implicit fail of our own domain, 1nn pass, 2nn soft pass, 3nn not checked, 9nn bypassed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Composite {
    /// The result.
    pub result: CompositeResult,
    /// Why: the codes are listed in `message::composite`.
    pub reason: u16,
}

impl Composite {
    /// Nobody looked.
    pub const UNCHECKED: Composite = Composite { result: CompositeResult::None, reason: 300 };
    /// ARC of a trusted sealer overrode a DMARC failure.
    pub const ARC_OVERRIDE: u16 = 130;

    /// Whether nobody looked.
    pub fn is_unchecked(&self) -> bool {
        *self == Self::UNCHECKED
    }

    /// Whether a trusted sealer vouches for what DMARC failed.
    pub fn is_arc_override(&self) -> bool {
        self.result == CompositeResult::Pass && self.reason == Self::ARC_OVERRIDE
    }
}

impl Default for Composite {
    fn default() -> Self {
        Self::UNCHECKED
    }
}

/// One set of a valid ARC chain (RFC 8617 4.2): who sealed, and what they say they saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArcSetFact {
    /// `d=` of the seal, lower case.
    pub domain: String,
    /// The DMARC result in its ARC-Authentication-Results.
    pub dmarc: AuthResult,
}

/// One DKIM signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DkimFact {
    /// The result.
    pub result: AuthResult,
    /// `d=`, lower case.
    pub domain: String,
    /// `s=`.
    pub selector: String,
    /// Why it did not pass, in a few words of ours; empty when it did.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// SPF, DKIM, DMARC and ARC of one message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthFacts {
    /// SPF of the reverse-path (or HELO for a null path).
    pub spf: AuthResult,
    /// The domain SPF was checked for.
    pub spf_domain: String,
    /// SPF of the name that the host gave itself (RFC 7208 2.3).
    #[serde(default = "unchecked", skip_serializing_if = "is_unchecked")]
    pub spf_helo: AuthResult,
    /// Every DKIM signature checked, capped.
    pub dkim: Vec<DkimFact>,
    /// DMARC of the From domain.
    pub dmarc: AuthResult,
    /// What that domain asks for.
    pub dmarc_policy: DmarcPolicy,
    /// The From domain that DMARC was checked for.
    pub dmarc_domain: String,
    /// ARC chain validation.
    pub arc: AuthResult,
    /// The sets of a chain that passed, newest first, capped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arc_sets: Vec<ArcSetFact>,
    /// A name of the client's address that leads back to it, lower case; empty when there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub client_name: String,
    /// All of it together.
    #[serde(default, skip_serializing_if = "Composite::is_unchecked")]
    pub composite: Composite,
}

/// What facts say that were stored before this was checked.
fn unchecked() -> AuthResult {
    AuthResult::None
}

fn is_unchecked(result: &AuthResult) -> bool {
    *result == AuthResult::None
}

impl Default for AuthFacts {
    /// Nothing was checked: every result reads `none`.
    fn default() -> Self {
        AuthFacts {
            spf: AuthResult::None,
            spf_domain: String::new(),
            spf_helo: AuthResult::None,
            dkim: Vec::new(),
            dmarc: AuthResult::None,
            dmarc_policy: DmarcPolicy::None,
            dmarc_domain: String::new(),
            arc: AuthResult::None,
            arc_sets: Vec::new(),
            client_name: String::new(),
            composite: Composite::UNCHECKED,
        }
    }
}

/// A mailbox of a header field: `Ada Byron <ada@example.org>`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MailboxFact {
    /// Display name, decoded, trimmed; may be empty.
    pub name: String,
    /// Address in lower case, as written otherwise; may not be valid.
    pub address: String,
}

impl MailboxFact {
    /// The part after the last `@`, or empty.
    pub fn domain(&self) -> &str {
        self.address.rsplit_once('@').map_or("", |(_, d)| d)
    }
}

text_enum! {
    /// Where a URL was found.
    UrlSource {
        /// In the plain text.
        Text = "text",
        /// In HTML: `href`.
        Href = "href",
        /// In HTML: an image or another fetched resource.
        Resource = "resource",
        /// In HTML: a form's action.
        Form = "form",
    }
}

/// A URL of the message, normalised for matching, deduplicated by (url, source).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UrlFact {
    /// As found, bounded in length.
    pub raw: String,
    /// Normalised: scheme and host in lower case, default port and fragment removed.
    pub url: String,
    /// Host, lower case, A-label, without port.
    pub host: String,
    /// Port when not the scheme's default.
    pub port: Option<u16>,
    /// Registrable domain by the public suffix list, or the host.
    pub domain: String,
    /// Where it was found.
    pub source: UrlSource,
}

/// A link whose shown text names a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkFact {
    /// What the reader sees, bounded.
    pub text: String,
    /// The host that the text names, lower case.
    pub text_host: String,
    /// The host that the link goes to, lower case.
    pub href_host: String,
}

text_enum! {
    /// True type of a file, by its bytes.
    FileKind {
        /// PE, ELF, Mach-O.
        Executable = "executable",
        /// Script by content or extension.
        Script = "script",
        /// Office document that can carry macros, or with a VBA part.
        MacroDocument = "macro_document",
        /// Office document, PDF.
        Document = "document",
        /// Archive.
        Archive = "archive",
        /// Disk image.
        DiskImage = "disk_image",
        /// Shortcut (.lnk), HTA and the like.
        Shortcut = "shortcut",
        /// HTML or SVG file.
        Html = "html",
        /// Picture, sound, video.
        Media = "media",
        /// Text, CSV, calendar.
        Text = "text",
        /// None of these.
        Other = "other",
    }
}

/// An attachment, or a file inside an attached archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentFact {
    /// File name as given, decoded, bounded; may be empty.
    pub name: String,
    /// Extension of the name, lower case, without dot; may be empty.
    pub extension: String,
    /// Content-Type as declared, lower case.
    pub declared_type: String,
    /// What the bytes say.
    pub kind: FileKind,
    /// SHA-256, lower-case hex.
    pub sha256: String,
    /// Decoded size in bytes.
    pub size_bytes: u64,
    /// The archive it was found in, by name; `None` for an attachment itself.
    pub inside: Option<String>,
    /// Encrypted, over a limit, or broken: its contents were not seen.
    pub unscannable: bool,
}

text_enum! {
    /// Something malformed that was noticed (and survived).
    Defect {
        /// No From field.
        MissingFrom = "missing_from",
        /// More than one From field or several mailboxes in it.
        MultipleFrom = "multiple_from",
        /// No Date field.
        MissingDate = "missing_date",
        /// No Message-ID field.
        MissingMessageId = "missing_message_id",
        /// A field that may occur once occurs twice.
        DuplicateField = "duplicate_field",
        /// NUL in the header section.
        NulInHeader = "nul_in_header",
        /// Bytes that are not valid in the declared (or UTF-8) character set.
        InvalidCharset = "invalid_charset",
        /// No empty line after the header section, or a line that is no field.
        BrokenHeader = "broken_header",
        /// MIME depth over the limit; deeper parts were not looked into.
        TooDeep = "too_deep",
        /// More parts than the limit; the rest was not looked into.
        TooManyParts = "too_many_parts",
        /// The MIME structure does not parse.
        BrokenMime = "broken_mime",
        /// An HTML part that could not be read in full.
        BrokenHtml = "broken_html",
        /// More URLs than the limit.
        TooManyUrls = "too_many_urls",
        /// Date more than a day in the future.
        FutureDate = "future_date",
    }
}

/// The header section, as far as verdicts need it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HeaderFacts {
    /// From, every mailbox of every From field, capped.
    pub from: Vec<MailboxFact>,
    /// Sender.
    pub sender: Option<MailboxFact>,
    /// Reply-To.
    pub reply_to: Vec<MailboxFact>,
    /// To and Cc mailboxes, capped.
    pub to: Vec<MailboxFact>,
    /// Subject, decoded.
    pub subject: String,
    /// Message-ID with its angle brackets, as written; empty when missing.
    pub message_id: String,
    /// Date.
    pub date_at: Option<Timestamp>,
    /// Number of Received fields.
    pub received_count: u32,
    /// User agent or mailer, bounded.
    pub mailer: String,
}

/// Marks of bulk mail.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BulkFacts {
    /// `List-Unsubscribe` present.
    pub list_unsubscribe: bool,
    /// `List-Unsubscribe-Post: List-Unsubscribe=One-Click` present (RFC 8058).
    pub one_click: bool,
    /// `List-Id`, its identifier; empty when missing.
    pub list_id: String,
    /// `Precedence: bulk|list|junk`.
    pub precedence_bulk: bool,
    /// `Feedback-ID` present.
    pub feedback_id: bool,
    /// `Auto-Submitted` other than `no`.
    pub auto_submitted: bool,
}

/// The message is a copy of our own campaign, by a valid signature in its header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnCopyFact {
    /// The campaign.
    pub campaign_id: CampaignId,
    /// The copy it was sent as.
    pub copy_id: CopyId,
}

text_enum! {
    /// Why a message was accepted without a verdict.
    Unjudged {
        /// Judging failed, and the organisation wants such mail delivered.
        Failure = "failure",
        /// An administrator had switched judging off for a while.
        Bypass = "bypass",
    }
}

/// Everything observed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Layout version of this structure: a replay of an older one says so.
    pub version: u16,
    /// When it was received.
    pub received_at: Timestamp,
    /// Size in bytes as received.
    pub size_bytes: u64,
    /// MAIL FROM.
    pub reverse_path: ReversePath,
    /// The client's address.
    pub client_ip: IpAddr,
    /// HELO name.
    pub helo: String,
    /// Whether the client spoke TLS.
    pub tls: bool,
    /// Authentication.
    pub auth: AuthFacts,
    /// Header section.
    pub header: HeaderFacts,
    /// Bulk marks.
    pub bulk: BulkFacts,
    /// URLs, capped.
    pub urls: Vec<UrlFact>,
    /// Links whose text names a host, capped.
    pub links: Vec<LinkFact>,
    /// Attachments, capped.
    pub attachments: Vec<AttachmentFact>,
    /// Length of the plain text (or the text of the HTML) in characters.
    pub text_chars: u32,
    /// The first characters of that text, at most 4,096, for rules on words.
    pub text_head: String,
    /// Whether there is an HTML part.
    pub has_html: bool,
    /// Number of pictures fetched from outside.
    pub remote_image_count: u32,
    /// What was malformed.
    pub defects: Vec<Defect>,
    /// Domains of the organisation, lower case, so that rules can tell inside from outside.
    pub own_domains: Vec<String>,
    /// Whether the sender wrote to this organisation before: `None` when unknown.
    pub sender_known: Option<bool>,
    /// Our own campaign's copy.
    pub own_copy: Option<OwnCopyFact>,
    /// Why it was accepted without a verdict, if it was. A verdict that was made later does not take this away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unjudged: Option<Unjudged>,
}

impl Facts {
    /// The layout version written today.
    pub const VERSION: u16 = 1;

    /// The first From mailbox; an empty one when there is none.
    pub fn from(&self) -> MailboxFact {
        self.header.from.first().cloned().unwrap_or_default()
    }
}

impl Default for Facts {
    /// An empty message from nowhere: the base that rule cases and parsers fill in.
    fn default() -> Self {
        Facts {
            version: Self::VERSION,
            received_at: Timestamp::default(),
            size_bytes: 0,
            reverse_path: ReversePath::Null,
            client_ip: IpAddr::from([0, 0, 0, 0]),
            helo: String::new(),
            tls: false,
            auth: AuthFacts::default(),
            header: HeaderFacts::default(),
            bulk: BulkFacts::default(),
            urls: Vec::new(),
            links: Vec::new(),
            attachments: Vec::new(),
            text_chars: 0,
            text_head: String::new(),
            has_html: false,
            remote_image_count: 0,
            defects: Vec::new(),
            own_domains: Vec::new(),
            sender_known: None,
            own_copy: None,
            unjudged: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_of_before_composite_authentication_are_read() {
        let stored = r#"{"spf":"pass","spf_domain":"a.example","dkim":[{"result":"pass","domain":"a.example","selector":"s"}],
            "dmarc":"pass","dmarc_policy":"none","dmarc_domain":"a.example","arc":"none"}"#;
        let auth: AuthFacts = serde_json::from_str(stored).unwrap();
        assert_eq!(auth.composite, Composite::UNCHECKED);
        assert!(auth.arc_sets.is_empty() && auth.client_name.is_empty() && auth.dkim[0].reason.is_empty());
        let again = serde_json::to_value(&auth).unwrap();
        assert_eq!(
            again,
            serde_json::from_str::<serde_json::Value>(stored).unwrap(),
            "nothing is added to what was not seen"
        );
    }
}
