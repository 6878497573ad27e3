//! Fields that a receiving host adds, and foreign ones that it must not believe.
//!
//! Whatever a peer chose (its EHLO name, an address, a signature's domain) is cleaned before it is written: no value
//! can begin another field. Every function returns whole fields, folded, ended by CRLF.

use std::borrow::Cow;
use std::net::IpAddr;

use model::{Address, AuthFacts, AuthResult, Disposition, Envelope, Facts, Timestamp, Unjudged, Verdict, VerdictClass};

use crate::Limits;
use crate::field::{Field, Section};

/// The field of [`antispam_report`]; the name is the one that analysts' tools read.
pub const ANTISPAM_REPORT: &str = "X-Forefront-Antispam-Report";
/// The field of [`bulk_report`].
pub const BULK_REPORT: &str = "X-Microsoft-Antispam";

/// The field of [`unjudged_mark`].
pub const UNJUDGED: &str = "X-Landfall-Unjudged";

/// The name that is given to a first line which continues nothing.
const UNATTACHED: &str = "X-Landfall-Unattached";

/// The rule that speaks of people's names; the other rules of its class speak of domains.
const IMPERSONATION_OF_PEOPLE: &str = "display_name_impersonation";
/// The rule that speaks for the organisation's block entries.
const BLOCK_LIST: &str = "list_block";
/// Characters kept of a value that a peer chose.
const PEER_VALUE_CHARS_MAX: usize = 255;

/// The parts of a Received field (RFC 5321 4.4).
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// How the message came.
    pub envelope: &'a Envelope,
    /// Our host name.
    pub by: &'a str,
    /// The id that our reply named.
    pub id: &'a str,
    /// When.
    pub at: Timestamp,
    /// The only recipient; `None` when there are several (RFC 5321 7.6 keeps them from each other).
    pub recipient: Option<&'a Address>,
}

/// A Received field.
pub fn received(parts: &Received<'_>) -> String {
    let client = &parts.envelope.client;
    let protocol = protocol(parts.envelope);
    let tls = client.tls.as_ref().map_or(String::new(), |tls| {
        format!("\r\n\t(version={} cipher={})", host_like(&tls.version), host_like(&tls.cipher))
    });
    let recipient =
        parts.recipient.map_or(String::new(), |address| format!("\r\n\tfor <{}>", one_line(&address.to_string())));
    format!(
        "Received: from {} ({})\r\n\tby {} with {protocol} id {}{tls}{recipient};\r\n\t{}\r\n",
        host_like(&client.helo),
        address_literal(client.ip),
        host_like(parts.by),
        host_like(parts.id),
        parts.at.to_rfc5322(),
    )
}

/// The registered word (RFC 3848, RFC 6531 4.3): how it came, `S` with TLS, `A` with a login.
fn protocol(envelope: &Envelope) -> String {
    let client = &envelope.client;
    let base = match (client.lmtp, client.esmtp, envelope.options.smtp_utf8) {
        (true, _, true) => "UTF8LMTP",
        (true, _, false) => "LMTP",
        (false, true, true) => "UTF8SMTP",
        (false, true, false) => "ESMTP",
        (false, false, _) => return "SMTP".into(),
    };
    let tls = if client.tls.is_some() { "S" } else { "" };
    let login = if client.login.is_some() { "A" } else { "" };
    format!("{base}{tls}{login}")
}

fn address_literal(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => format!("[{ip}]"),
        IpAddr::V6(ip) => format!("[IPv6:{ip}]"),
    }
}

/// An Authentication-Results field (RFC 8601) of the host `authserv_id`.
pub fn authentication_results(authserv_id: &str, auth: &AuthFacts, envelope: &Envelope) -> String {
    format!("Authentication-Results: {};\r\n\t{}\r\n", host_like(authserv_id), results(auth, envelope))
}

/// The results as they stand behind the name in Authentication-Results and in ARC-Authentication-Results: one a line, folded.
pub fn results(auth: &AuthFacts, envelope: &Envelope) -> String {
    let mut results = Vec::new();
    if let Some(login) = &envelope.client.login {
        results.push(format!("auth=pass smtp.auth={}", pvalue(&login.address)));
    }
    let identity = match envelope.reverse_path.address() {
        Some(address) => format!("smtp.mailfrom={}", pvalue(&address.to_string())),
        None => format!("smtp.helo={}", pvalue(&envelope.client.helo)),
    };
    results.push(format!("spf={} (sender IP is {}) {identity}", auth.spf, envelope.client.ip));
    // RFC 7208 2.3: the host's own name. For the null path it is the same check, said above.
    if auth.spf_helo != AuthResult::None && envelope.reverse_path.address().is_some() {
        results.push(format!("spf={} smtp.helo={}", auth.spf_helo, pvalue(&envelope.client.helo)));
    }
    for dkim in &auth.dkim {
        let reason = if dkim.reason.is_empty() { String::new() } else { format!(" ({})", comment(&dkim.reason)) };
        results.push(format!(
            "dkim={}{reason} header.d={} header.s={}",
            dkim.result,
            pvalue(&dkim.domain),
            pvalue(&dkim.selector)
        ));
    }
    if auth.dkim.is_empty() {
        results.push("dkim=none (message not signed)".into());
    }
    let domain = if auth.dmarc_domain.is_empty() {
        String::new()
    } else {
        format!(" header.from={}", pvalue(&auth.dmarc_domain))
    };
    let policy = if auth.dmarc == AuthResult::None { String::new() } else { format!(" (p={})", auth.dmarc_policy) };
    results.push(format!("dmarc={}{policy}{domain}", auth.dmarc));
    if auth.arc != AuthResult::None {
        results.push(format!("arc={}", auth.arc));
    }
    if !auth.composite.is_unchecked() {
        results.push(format!("compauth={} reason={:03}", auth.composite.result, auth.composite.reason));
    }
    results.join(";\r\n\t")
}

/// The report that analysts know: `CIP:..;CTRY:;LANG:;SCL:..;SRV:;IPV:NLI;SFV:..;H:..;PTR:;CAT:..;SFTY:;DIR:INB;`.
/// What is not known here (country, language) stays empty; PTR is a name that leads back to the address, and no other.
pub fn antispam_report(facts: &Facts, verdict: &Verdict, disposition: &Disposition) -> String {
    // A look-alike domain and a borrowed name are the same class, and two categories.
    let is_domain = verdict.class == VerdictClass::Impersonation
        && !verdict.signals.iter().any(|s| s.weight > 0.0 && s.rule == IMPERSONATION_OF_PEOPLE);
    let (category, level) = match verdict.class {
        VerdictClass::Malware => ("MALW", 9),
        VerdictClass::HighConfidencePhish => ("HPHSH", 9),
        VerdictClass::Phish => ("PHSH", 8),
        VerdictClass::Spoof => ("SPOOF", 6),
        VerdictClass::Impersonation if is_domain => ("DIMP", 6),
        VerdictClass::Impersonation => ("UIMP", 6),
        VerdictClass::HighConfidenceSpam => ("HSPM", 9),
        VerdictClass::Spam => ("SPM", 5),
        VerdictClass::Bulk => ("BULK", 6),
        VerdictClass::Clean => ("NONE", 1),
    };
    let allowed = !verdict.allowed_by.is_empty();
    let filtered = match disposition {
        Disposition::Deliver | Disposition::Redirect { .. } => false,
        Disposition::Junk | Disposition::Quarantine | Disposition::Reject | Disposition::Drop => true,
    };
    let level = if allowed && !filtered { -1 } else { level };
    let is_blocked = verdict.signals.iter().any(|s| s.weight > 0.0 && s.rule == BLOCK_LIST);
    let filter_verdict = match (allowed, filtered) {
        (true, false) => "SKA",
        (_, true) if is_blocked => "SKB",
        (_, true) if verdict.class != VerdictClass::Clean => "SPM",
        _ => "NSPM",
    };
    let safety = match verdict.class {
        VerdictClass::Impersonation if is_domain => "9.19",
        VerdictClass::Impersonation => "9.20",
        _ => "",
    };
    let bulk = if verdict.class == VerdictClass::Bulk { "BULK" } else { "" };
    let name = if facts.auth.client_name.is_empty() { String::new() } else { host_like(&facts.auth.client_name) };
    format!(
        "{ANTISPAM_REPORT}: CIP:{};CTRY:;LANG:;SCL:{level};SRV:{bulk};IPV:NLI;\r\n\tSFV:{filter_verdict};H:{};PTR:{name};\
         CAT:{category};SFTY:{safety};DIR:INB;\r\n",
        facts.client_ip,
        host_like(&facts.helo).replace(':', "."),
    )
}

/// The field that tells a reader's program and the next host that nobody judged this message, and why.
pub fn unjudged_mark(reason: Unjudged) -> String {
    format!("{UNJUDGED}: {reason}\r\n")
}

/// What was received, of a message that was stored under fields of ours which end in [`unjudged_mark`]; `None` when there is
/// no such field. (Those that a sender wrote were removed before ours were put in front.)
pub fn below_unjudged_mark(stored: &[u8]) -> Option<&[u8]> {
    let mark = format!("\r\n{UNJUDGED}: ");
    let at = memchr::memmem::find(stored, mark.as_bytes())? + mark.len();
    let end = memchr::memchr(b'\n', &stored[at..])?;
    Some(&stored[at + end + 1..])
}

/// `X-Microsoft-Antispam: BCL:n;` with the bulk level, 0 to 9.
pub fn bulk_report(verdict: &Verdict) -> String {
    format!("{BULK_REPORT}: BCL:{};\r\n", verdict.bulk_level.min(9))
}

/// The message without the fields of these names.
pub fn remove_fields<'a>(raw: &'a [u8], names: &[&str]) -> Cow<'a, [u8]> {
    remove_where(raw, |field| names.iter().any(|name| field.is(name)))
}

/// The same, and without Authentication-Results fields that claim to be of `authserv_id` (RFC 8601 section 5).
pub fn remove_ours<'a>(raw: &'a [u8], authserv_id: &str, names: &[&str]) -> Cow<'a, [u8]> {
    let claims_to_be_ours = |field: &Field<'_>| field.is("Authentication-Results") && claims(field.value, authserv_id);
    remove_where(raw, |field| names.iter().any(|name| field.is(name)) || claims_to_be_ours(field))
}

/// What a message goes on with behind fields that we put in front of it. A first line that begins with a blank would
/// continue our last field, and a stranger would have written in it: it becomes a field of its own.
pub fn below_our_fields(raw: &[u8]) -> Cow<'_, [u8]> {
    match raw.first() {
        Some(b' ' | b'\t') => Cow::Owned([UNATTACHED.as_bytes(), b":", raw].concat()),
        _ => Cow::Borrowed(raw),
    }
}

/// The first field of this name: unfolded, its encoded words decoded, at most 1,000 characters.
pub fn field(raw: &[u8], name: &str) -> Option<String> {
    let limits = Limits::default();
    Section::read(raw, 0, &limits, |_| false).find(name).map(|field| field.text(&limits))
}

/// How many fields of this name the header section has, however many fields it has.
pub fn count(raw: &[u8], name: &str) -> usize {
    let limits = Limits { fields_max: usize::MAX, ..Limits::default() };
    Section::read_on(raw, &limits).all(name).count()
}

/// The bytes of the header section, without the empty line that ends it.
pub fn section(raw: &[u8]) -> &[u8] {
    let body_start = Section::read(raw, 0, &Limits::default(), |_| false).body_start;
    let head = &raw[..body_start];
    let empty_line = [&b"\r\n\r\n"[..], b"\n\n"].iter().find(|end| head.ends_with(end)).map_or(0, |end| end.len() / 2);
    &head[..head.len() - empty_line]
}

fn remove_where(raw: &[u8], is_removed: impl Fn(&Field<'_>) -> bool) -> Cow<'_, [u8]> {
    // Removing looks at every field, whatever the limit of reading is: an attacker must not hide one behind many.
    let limits = Limits { fields_max: usize::MAX, ..Limits::default() };
    let section = Section::read_on(raw, &limits);
    if !section.fields.iter().any(&is_removed) {
        return Cow::Borrowed(raw);
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut copied = 0;
    for field in section.fields.iter().filter(|field| is_removed(field)) {
        out.extend_from_slice(&raw[copied..field.start]);
        copied = field.start + field.name.len() + 1 + field.value.len();
    }
    out.extend_from_slice(&raw[copied..]);
    Cow::Owned(out)
}

/// Whether an Authentication-Results value names `authserv_id`, past comments and quotes (RFC 8601 2.2), however long they
/// are.
fn claims(value: &[u8], authserv_id: &str) -> bool {
    let mut depth = 0_usize;
    let mut name = String::new();
    let (mut is_escaped, mut is_quoted) = (false, false);
    for c in String::from_utf8_lossy(value).chars() {
        match c {
            _ if std::mem::take(&mut is_escaped) => name.extend((depth == 0).then_some(c)),
            '\\' => is_escaped = true,
            '"' if depth == 0 => is_quoted = !is_quoted,
            '(' if !is_quoted => depth += 1,
            ')' if !is_quoted => depth = depth.saturating_sub(1),
            _ if depth > 0 => {}
            ';' | '/' => break,
            c if c.is_whitespace() && name.is_empty() => {}
            c if c.is_whitespace() => break,
            c => name.push(c),
        }
    }
    name.trim_end_matches('.').eq_ignore_ascii_case(authserv_id.trim_end_matches('.'))
}

/// A name that a peer chose, as it may stand bare in a field: anything but host characters becomes `?`.
fn host_like(text: &str) -> String {
    let clean = |c: char| if c.is_ascii_alphanumeric() || ".-_:[]".contains(c) { c } else { '?' };
    let text: String = text.chars().take(PEER_VALUE_CHARS_MAX).map(clean).collect();
    if text.is_empty() { "unknown".into() } else { text }
}

fn one_line(text: &str) -> String {
    text.chars().take(2 * PEER_VALUE_CHARS_MAX).map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Words inside a comment: nothing in them ends it.
fn comment(text: &str) -> String {
    one_line(text).chars().map(|c| if matches!(c, '(' | ')' | '\\') { '?' } else { c }).collect()
}

/// A property's value (RFC 8601 2.2): bare when it is a token or an address, else a quoted string.
fn pvalue(text: &str) -> String {
    let text = one_line(text);
    let bare = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/^_`{|}~.@".contains(c);
    if !text.is_empty() && text.chars().all(bare) {
        return text;
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{
        BodyType, ClientInfo, Composite, CompositeResult, Confidence, DkimFact, DmarcPolicy, RuleSetId, Signal, TlsInfo,
    };

    fn envelope(helo: &str, reverse_path: &str) -> Envelope {
        Envelope {
            reverse_path: reverse_path.parse().unwrap(),
            forward_paths: vec![Address::parse("bob@contoso.example").unwrap()],
            body_type: BodyType::SevenBit,
            declared_size_bytes: None,
            options: Default::default(),
            rcpt_options: Vec::new(),
            client: ClientInfo {
                ip: "192.0.2.1".parse().unwrap(),
                helo: helo.into(),
                esmtp: true,
                tls: Some(TlsInfo { version: "TLSv1.3".into(), cipher: "TLS13_AES_256_GCM_SHA384".into() }),
                lmtp: false,
                login: None,
            },
        }
    }

    #[test]
    fn received_holds_no_injection() {
        let envelope = envelope("evil\r\nX-Injected: yes (", "ada@fabrikam.example");
        let field = received(&Received {
            envelope: &envelope,
            by: "mx.contoso.example",
            id: "42",
            at: Timestamp::from_micros(1_710_410_043_000_000),
            recipient: envelope.forward_paths.first(),
        });
        assert_eq!(
            field,
            "Received: from evil??X-Injected:?yes?? ([192.0.2.1])\r\n\tby mx.contoso.example with ESMTPS id 42\r\n\t\
             (version=TLSv1.3 cipher=TLS13_AES_256_GCM_SHA384)\r\n\tfor <bob@contoso.example>;\r\n\t\
             Thu, 14 Mar 2024 09:54:03 +0000\r\n"
        );
    }

    #[test]
    fn results_are_escaped() {
        let auth = AuthFacts {
            spf: AuthResult::Pass,
            dkim: vec![DkimFact {
                result: AuthResult::Fail,
                domain: "a;b\r\nX: y".into(),
                selector: "s".into(),
                reason: "why) X".into(),
            }],
            dmarc: AuthResult::Fail,
            dmarc_policy: DmarcPolicy::Reject,
            dmarc_domain: "fabrikam.example".into(),
            ..AuthFacts::default()
        };
        assert_eq!(
            authentication_results("mx.contoso.example", &auth, &envelope("h", "\"a b\"@fabrikam.example")),
            "Authentication-Results: mx.contoso.example;\r\n\tspf=pass (sender IP is 192.0.2.1) \
             smtp.mailfrom=\"\\\"a b\\\"@fabrikam.example\";\r\n\t\
             dkim=fail (why? X) header.d=\"a;b??X: y\" header.s=s;\r\n\tdmarc=fail (p=reject) header.from=fabrikam.example\r\n"
        );
        assert_eq!(
            authentication_results("mx", &AuthFacts::default(), &envelope("h.example", "")),
            "Authentication-Results: mx;\r\n\tspf=none (sender IP is 192.0.2.1) smtp.helo=h.example;\r\n\t\
             dkim=none (message not signed);\r\n\tdmarc=none\r\n"
        );
        let composite = Composite { result: CompositeResult::Fail, reason: 1 };
        let auth = AuthFacts { arc: AuthResult::Pass, composite, ..AuthFacts::default() };
        let field = authentication_results("mx", &auth, &envelope("h.example", ""));
        assert!(field.ends_with(";\r\n\tarc=pass;\r\n\tcompauth=fail reason=001\r\n"), "{field}");
    }

    #[test]
    fn foreign_results_in_our_name_go() {
        let raw = b"Authentication-Results: other.example; spf=pass\r\nAuthentication-results : (c)\r\n \"MX.Contoso.Example\" 1;\r\n\
                    \tdkim=pass\r\nSubject: x\r\nauthentication-results:mx.contoso.example; none\r\n\r\nAuthentication-Results: mx.contoso.example\r\n";
        let expect = b"Authentication-Results: other.example; spf=pass\r\nSubject: x\r\n\r\nAuthentication-Results: mx.contoso.example\r\n";
        assert_eq!(remove_ours(raw, "mx.contoso.example", &[]).as_ref(), expect);
        let hidden = b"Subject: x\r\nno field\r\nAuthentication-Results: mx.contoso.example; dmarc=pass\r\n\r\nbody";
        let cleaned = remove_ours(hidden, "mx.contoso.example", &[]);
        assert_eq!(cleaned.as_ref(), b"Subject: x\r\nno field\r\n\r\nbody");
        assert!(matches!(remove_ours(expect, "mx.contoso.example", &[]), Cow::Borrowed(_)));
        assert_eq!(remove_fields(b"A: 1\r\nb: 2\r\n 3\r\nC: 4\r\n\r\n", &["B"]).as_ref(), b"A: 1\r\nC: 4\r\n\r\n");
    }

    #[test]
    fn nobody_writes_on_in_our_fields() {
        let check = |raw: &[u8], expected: &[u8]| assert_eq!(below_our_fields(raw).as_ref(), expected);
        check(b" dmarc=pass\r\nFrom: x@y\r\n", b"X-Landfall-Unattached: dmarc=pass\r\nFrom: x@y\r\n");
        check(b"\tx", b"X-Landfall-Unattached:\tx");
        check(b"From: x@y\r\n folded", b"From: x@y\r\n folded");
        check(b"", b"");
    }

    #[test]
    fn the_host_s_own_name_is_a_result_of_its_own() {
        let auth = AuthFacts { spf: AuthResult::Pass, spf_helo: AuthResult::Fail, ..AuthFacts::default() };
        let said = results(&auth, &envelope("h.example", "a@fabrikam.example"));
        let expected =
            "spf=pass (sender IP is 192.0.2.1) smtp.mailfrom=a@fabrikam.example;\r\n\tspf=fail smtp.helo=h.example;";
        assert!(said.starts_with(expected), "{said}");
        let said = results(&auth, &envelope("h.example", ""));
        assert_eq!(said.matches("spf=").count(), 1, "for the null path it is one check: {said}");
    }

    #[test]
    fn no_form_of_our_name_stays() {
        let goes = |field: &str| {
            let raw = format!("Subject: x\r\n{field}\r\nTo: b@contoso.example\r\n\r\nbody\r\n");
            let cleaned = remove_ours(raw.as_bytes(), "mx.contoso.example", &[]);
            cleaned.as_ref() == b"Subject: x\r\nTo: b@contoso.example\r\n\r\nbody\r\n"
        };
        for field in [
            "Authentication-Results: mx.contoso.example; dmarc=pass",
            "AUTHENTICATION-RESULTS:MX.CONTOSO.EXAMPLE;dmarc=pass",
            "Authentication-Results \t: mx.contoso.example. 1; dmarc=pass",
            "Authentication-Results:\r\n\r\n".trim_end(), // folded to nothing is nobody's
            "Authentication-Results:\r\n mx.contoso.example\r\n ; dmarc=pass",
            "Authentication-Results: (a (nested\\) comment)) mx.contoso.example; dmarc=pass",
            "Authentication-Results: \"mx.con\\toso.example\"; dmarc=pass",
            "Authentication-Results: mx.(c)contoso.example; dmarc=pass",
            "Authentication-Results: mx.contoso.example",
            &format!("Authentication-Results: ({}) mx.contoso.example; dmarc=pass", "c".repeat(5_000)),
            &format!("Authentication-Results:{} mx.contoso.example; dmarc=pass", "\r\n ".repeat(2_000)),
            "Authentication-Results: (\"c) mx.contoso.example; dmarc=pass",
            "Authentication-Results: mx.contoso.example/1; dmarc=pass",
        ] {
            let expected = !field.ends_with(':');
            assert_eq!(goes(field), expected, "{field:?}");
        }
        for field in [
            "Authentication-Results: mx.contoso.example.evil.example; dmarc=pass",
            "Authentication-Results: (mx.contoso.example) other.example; dmarc=pass",
            "Authentication-Results: \"(\" mx.contoso.example; dmarc=pass",
            "ARC-Authentication-Results: i=1; mx.contoso.example; dmarc=pass",
            "X-Authentication-Results: mx.contoso.example; dmarc=pass",
        ] {
            assert!(!goes(field), "{field:?}");
        }
    }

    #[test]
    fn fields_are_read() {
        let raw = b"Subject: =?utf-8?q?B=C3=BCcher?=\r\n folded\r\nX-A: 1\r\n\r\nSubject: no\r\n";
        assert_eq!(field(raw, "subject").as_deref(), Some("B\u{fc}cher folded"));
        assert_eq!(field(raw, "x-b"), None);
        assert_eq!(section(raw), &raw[..raw.len() - 15]);
    }

    #[test]
    fn report() {
        let facts =
            Facts { client_ip: "198.51.100.50".parse().unwrap(), helo: "mail.example".into(), ..Facts::default() };
        let mut verdict = Verdict {
            class: VerdictClass::Clean,
            confidence: Confidence::Normal,
            signals: Vec::new(),
            bulk_level: 3,
            allowed_by: Vec::new(),
            rule_set_id: RuleSetId(1),
        };
        let mut check = |class, allowed: bool, disposition: Disposition, part: &str| {
            verdict.class = class;
            verdict.allowed_by = if allowed { vec!["entry".into()] } else { Vec::new() };
            let report = antispam_report(&facts, &verdict, &disposition);
            assert!(report.starts_with("X-Forefront-Antispam-Report: CIP:198.51.100.50;CTRY:;LANG:;SCL:"), "{report}");
            assert!(report.replace("\r\n\t", "").contains(part), "{report} {part}");
        };
        let clean = "SCL:1;SRV:;IPV:NLI;SFV:NSPM;H:mail.example;PTR:;CAT:NONE;SFTY:;DIR:INB;\r\n";
        check(VerdictClass::Clean, false, Disposition::Deliver, clean);
        check(
            VerdictClass::Phish,
            false,
            Disposition::Quarantine,
            "SCL:8;SRV:;IPV:NLI;SFV:SPM;H:mail.example;PTR:;CAT:PHSH",
        );
        check(VerdictClass::Bulk, true, Disposition::Deliver, "SCL:-1;SRV:BULK;IPV:NLI;SFV:SKA;");
        check(VerdictClass::Impersonation, false, Disposition::Junk, "CAT:DIMP;SFTY:9.19;");
        let signal = |rule: &str| Signal {
            rule: rule.into(),
            rule_version: 1,
            weight: 1.0,
            class: VerdictClass::Impersonation,
            sentence: String::new(),
            evidence: String::new(),
            origin: None,
            change_id: None,
        };
        verdict.signals = vec![signal(IMPERSONATION_OF_PEOPLE)];
        let named =
            Facts { auth: AuthFacts { client_name: "mx1.example".into(), ..AuthFacts::default() }, ..facts.clone() };
        let report = antispam_report(&named, &verdict, &Disposition::Junk);
        assert!(report.contains("PTR:mx1.example;CAT:UIMP;SFTY:9.20;"), "{report}");
        verdict.signals = vec![signal(BLOCK_LIST)];
        assert!(antispam_report(&facts, &verdict, &Disposition::Quarantine).contains("SFV:SKB;"));
        assert_eq!(bulk_report(&verdict), "X-Microsoft-Antispam: BCL:3;\r\n");
    }
}
