//! Why mail fails, as one table: class, the codes and words that mean it, and what follows.
//!
//! The first rule that matches decides. Words are looked for in the host's own text in lower case; they stand before the
//! codes where hosts are known to use a code for several things (5.7.1 above all). `docs/operate.md` prints the classes.

use crate::report::{Status, reply_code};

/// What a failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BounceClass {
    /// There is no such mailbox or domain, or it was closed for good.
    Hard,
    /// The mailbox is full.
    Quota,
    /// The host refuses our address or domain: reputation, a block list.
    Block,
    /// SPF, DKIM, DMARC, or the names of our host did not satisfy it.
    Authentication,
    /// It dislikes what the message says or carries.
    Content,
    /// The message is too large.
    Size,
    /// We send faster than the host takes.
    Rate,
    /// The recipient, or its organisation, takes no such mail.
    Policy,
    /// No way there: names, loops, hosts that do not answer.
    Routing,
    /// It was tried until the time for it ended.
    Expired,
    /// Something is wrong at the host for now.
    Soft,
    /// Nothing that the table knows.
    Unknown,
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub struct ClassRule {
    /// What it means.
    pub class: BounceClass,
    /// Enhanced codes: `5.1.1`, or a beginning such as `5.4.`; empty: any. `*.` stands for 4 and 5.
    pub codes: &'static [&'static str],
    /// Words, any of them; empty: no words are needed.
    pub words: &'static [&'static str],
}

const fn rule(class: BounceClass, codes: &'static [&'static str], words: &'static [&'static str]) -> ClassRule {
    ClassRule { class, codes, words }
}

use BounceClass as C;

/// The table.
pub const RULES: &[ClassRule] = &[
    // Codes that mean one thing wherever they are used.
    rule(C::Hard, &["5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1"], &[]),
    rule(C::Quota, &["*.2.2"], &[]),
    rule(C::Size, &["*.2.3", "*.3.4"], &[]),
    rule(C::Expired, &["*.4.7"], &[]),
    rule(
        C::Authentication,
        &["*.7.5", "*.7.20", "*.7.21", "*.7.22", "*.7.23", "*.7.24", "*.7.25", "*.7.26", "*.7.27"],
        &[],
    ),
    rule(C::Authentication, &["*.7.30", "*.7.32", "*.7.509", "*.7.515"], &[]),
    rule(C::Rate, &["*.7.28", "*.2.121", "*.2.122", "*.7.708"], &[]),
    rule(C::Block, &["*.7.511", "*.7.606", "*.7.607", "*.7.64", "*.7.650", "*.7.750"], &[]),
    // Words, for the codes that mean many things and for hosts that send none.
    rule(
        C::Quota,
        &[],
        &[
            "mailbox full",
            "mailbox is full",
            "over quota",
            "overquota",
            "quota exceeded",
            "exceeded storage",
            "insufficient storage",
        ],
    ),
    rule(
        C::Rate,
        &[],
        &[
            "rate limit",
            "too many messages",
            "too many connections",
            "try again more slowly",
            "throttl",
            "receiving mail at a rate",
            "sending rate",
            "tss04",
            "deferred due to user complaints",
        ],
    ),
    rule(
        C::Authentication,
        &[],
        &[
            "dmarc",
            "spf check",
            "spf fail",
            "spf validation",
            "sender policy framework",
            "dkim",
            "unauthenticated email",
            "not authenticated mail",
            "reverse dns",
            "ptr record",
        ],
    ),
    rule(
        C::Block,
        &[],
        &[
            "spamhaus",
            "spamcop",
            "barracuda",
            "blocklist",
            "block list",
            "blacklist",
            "black list",
            "dnsbl",
            "rbl",
            "banned sending",
            "your ip",
            "ip address is blocked",
            "poor reputation",
            "bad reputation",
            "low reputation",
            "sender reputation",
            "has been blocked",
            "blocked using",
            "is listed",
        ],
    ),
    rule(
        C::Hard,
        &["5.", ""],
        &[
            "user unknown",
            "unknown user",
            "no such user",
            "no such mailbox",
            "no such recipient",
            "mailbox not found",
            "mailbox unavailable",
            "does not exist",
            "doesn't exist",
            "doesn't have a",
            "does not have a",
            "unknown recipient",
            "recipient unknown",
            "recipientnotfound",
            "recipient not found",
            "invalid recipient",
            "invalid mailbox",
            "unknown mailbox",
            "unrouteable address",
            "unrouteable mail domain",
            "account has been disabled",
            "account is disabled",
            "account disabled",
            "mailbox disabled",
            "user disabled",
            "no mailbox here",
            "not a known user",
            "not our customer",
            "host or domain name not found",
            "domain not found",
            "no such domain",
            "recipient address rejected: access denied",
            "recipient address rejected: undeliverable",
            "address rejected: unknown",
            "is not a valid mailbox",
        ],
    ),
    rule(
        C::Content,
        &[],
        &[
            "spam",
            "virus",
            "malware",
            "unsolicited",
            "bulk mail",
            "phish",
            "content reject",
            "message content",
            "potential security issue",
            "attachment",
            "suspicious",
            "blocked because its content",
        ],
    ),
    rule(C::Size, &[], &["message too large", "message size exceeds", "exceeds size limit", "too big", "size limit"]),
    rule(
        C::Expired,
        &[],
        &[
            "retry timeout exceeded",
            "delivery time expired",
            "retry time not reached for any host after",
            "message expired",
            "giving up",
        ],
    ),
    rule(
        C::Routing,
        &[],
        &[
            "connection timed out",
            "connection refused",
            "no route to host",
            "network is unreachable",
            "loops back",
            "too many hops",
            "mail loop",
        ],
    ),
    rule(
        C::Policy,
        &[],
        &[
            "policy",
            "access denied",
            "not permitted",
            "not allowed",
            "not authorized",
            "administrative prohibition",
            "relaying denied",
            "relay access denied",
        ],
    ),
    // Codes by subject.
    rule(C::Hard, &["5.1."], &[]),
    rule(C::Content, &["*.6."], &[]),
    rule(C::Policy, &["*.7."], &[]),
    rule(C::Routing, &["*.4."], &[]),
    rule(C::Soft, &["4.", "5.2.", "5.3.", "5.5."], &[]),
];

impl BounceClass {
    /// Every class.
    pub const ALL: [BounceClass; 12] = [
        C::Hard,
        C::Quota,
        C::Block,
        C::Authentication,
        C::Content,
        C::Size,
        C::Rate,
        C::Policy,
        C::Routing,
        C::Expired,
        C::Soft,
        C::Unknown,
    ];

    /// The class of a code and a host's words.
    pub fn of(status: Option<Status>, words: &str) -> BounceClass {
        let lower = words.to_lowercase();
        let code = status.map(|status| status.to_string()).unwrap_or_default();
        let matches = |rule: &&ClassRule| {
            (rule.codes.is_empty() || rule.codes.iter().any(|pattern| is_code(&code, pattern)))
                && (rule.words.is_empty() || rule.words.iter().any(|word| lower.contains(word)))
        };
        match RULES.iter().find(matches) {
            Some(rule) => rule.class,
            // 421 and its kin without an enhanced code.
            None if reply_code(&lower).is_some_and(|code| code < 500) => BounceClass::Soft,
            None => BounceClass::Unknown,
        }
    }

    /// The word in SQL and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            C::Hard => "hard",
            C::Quota => "quota",
            C::Block => "block",
            C::Authentication => "authentication",
            C::Content => "content",
            C::Size => "size",
            C::Rate => "rate",
            C::Policy => "policy",
            C::Routing => "routing",
            C::Expired => "expired",
            C::Soft => "soft",
            C::Unknown => "unknown",
        }
    }

    /// The class for a word.
    pub fn parse(word: &str) -> Option<Self> {
        BounceClass::ALL.into_iter().find(|class| class.as_str() == word)
    }

    /// In plain words, for people who did not send a reply in their life.
    pub const fn sentence(self) -> &'static str {
        match self {
            C::Hard => "there is no such mailbox",
            C::Quota => "the mailbox is full",
            C::Block => "the recipient's host refuses mail from our address or domain",
            C::Authentication => {
                "the recipient's host could not authenticate the mail (SPF, DKIM, DMARC or host names)"
            }
            C::Content => "the recipient's host refuses what the message says or carries",
            C::Size => "the message is too large for the recipient's host",
            C::Rate => "the recipient's host takes mail more slowly than we send it",
            C::Policy => "the recipient's organisation does not take this mail",
            C::Routing => "there is no way to the recipient's host",
            C::Expired => "the time to try ended",
            C::Soft => "something was wrong at the recipient's host",
            C::Unknown => "the recipient's host gave no reason that is known",
        }
    }

    /// Whether sending to the address again is pointless: it goes on the suppression list.
    pub const fn suppresses(self) -> bool {
        matches!(self, C::Hard)
    }

    /// Whether the cause is on our side or in the message, so that failures at many hosts are one incident. An address
    /// that is gone, or a full mailbox, is its own cause.
    pub const fn is_shared(self) -> bool {
        match self {
            C::Block | C::Authentication | C::Content | C::Size | C::Rate | C::Policy => true,
            C::Hard | C::Quota | C::Routing | C::Expired | C::Soft | C::Unknown => false,
        }
    }
}

/// `pattern`: a code, a beginning that ends with a dot, `*` for the classes 4 and 5, or empty for no code at all.
fn is_code(code: &str, pattern: &str) -> bool {
    if pattern.is_empty() || code.is_empty() {
        return pattern.is_empty() && code.is_empty();
    }
    let (code, pattern) = match pattern.strip_prefix('*') {
        Some(rest) => (code.get(1..).unwrap_or(""), rest),
        None => (code, pattern),
    };
    if pattern.ends_with('.') { code.starts_with(pattern) } else { code == pattern }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_of_real_hosts_find_their_class() {
        let check = |words: &str, want: BounceClass| {
            assert_eq!(BounceClass::of(Status::find(words), words), want, "{words}");
        };
        check("550 5.1.1 The email account that you tried to reach does not exist. NoSuchUser", C::Hard);
        check("550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup", C::Hard);
        check("550 5.4.1 Recipient address rejected: Access denied.", C::Hard);
        check("554 delivery error: dd This user doesn't have a yahoo.com account", C::Hard);
        check("Sorry, no mailbox here by that name. (#5.1.1)", C::Hard);
        check("550 No such user here", C::Hard);
        check("552 5.2.2 The email account that you tried to reach is over quota", C::Quota);
        check("452 4.2.2 Mailbox full", C::Quota);
        check("552 Mailbox is full", C::Quota);
        check(
            "550 5.7.26 Unauthenticated email from contoso.example is not accepted due to domain's DMARC policy",
            C::Authentication,
        );
        check(
            "550 5.7.515 Access denied, sending domain does not meet the required authentication level",
            C::Authentication,
        );
        check("550 5.7.1 Service unavailable; client host [192.0.2.1] blocked using Spamhaus", C::Block);
        check("550 5.7.606 Access denied, banned sending IP [192.0.2.1]", C::Block);
        check("421 4.7.28 Our system has detected an unusual rate of unsolicited mail", C::Rate);
        check("421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to user complaints", C::Rate);
        check("550 5.7.1 Message rejected as spam by Content Filtering", C::Content);
        check("552 5.7.0 This message was blocked because its content presents a potential security issue", C::Content);
        check("552 5.3.4 Message size exceeds fixed limit", C::Size);
        check("550 5.7.124 RESOLVER.RST.SenderNotInAllowedSendersList", C::Policy);
        check("554 5.7.1 Relay access denied", C::Policy);
        check("451 4.4.1 connection timed out", C::Routing);
        check("554 5.4.7 not delivered in time", C::Expired);
        check("451 4.3.0 try again later", C::Soft);
        check("421 come back", C::Soft);
        check("550 no", C::Unknown);
        check("", C::Unknown);
    }

    #[test]
    fn words_and_classes_agree() {
        for class in BounceClass::ALL {
            assert_eq!(BounceClass::parse(class.as_str()), Some(class));
            assert!(!class.sentence().contains("delivered") && !class.sentence().ends_with('.'));
        }
        let lower = |word: &str| word == word.to_lowercase();
        assert!(RULES.iter().flat_map(|rule| rule.words).all(|word| lower(word)));
    }
}
