//! Composite authentication: what SPF, DKIM, DMARC, ARC and the client's name say together about the From domain, as one
//! result with the reason code that analysts know (`compauth=pass reason=100`).
//!
//! | code | result | here |
//! |---|---|---|
//! | 000 | fail | DMARC failed, and the domain asks for quarantine or reject |
//! | 001 | fail | no DMARC pass, and nothing else speaks for the domain (implicit) |
//! | 010 | fail | as 000, for a domain of ours |
//! | 601 | fail | as 001, for a domain of ours |
//! | 100 | pass | DMARC passed |
//! | 101 | pass | no policy decides; a DKIM signature of the From domain or of one with the same organisation passed |
//! | 102 | pass | no policy decides; SPF passed for such a domain |
//! | 111 | pass | DMARC could not be read; SPF or DKIM of the domain passed |
//! | 130 | pass | DMARC failed, and a trusted sealer's ARC set says that it passed before |
//! | 202 | softpass | the client's name, which leads back to it, has the From domain's organisation |
//! | 300 | none | nothing was checked, or there is no From domain |
//! | 301 | none | the names could not be looked up |
//!
//! 002 (an entry forbids this pair) is a list's work: the verdict says so. Codes that rest on a reputation we do not keep
//! (7nn, 9nn and others) are never given.

use model::{AuthFacts, AuthResult, Composite, CompositeResult, DmarcPolicy, Facts};

const fn code(result: CompositeResult, reason: u16) -> Composite {
    Composite { result, reason }
}

/// The composite result of a message's facts. `trusted_sealers` are domains, lower case, whose ARC sets are believed.
pub fn composite(facts: &Facts, trusted_sealers: &[String]) -> Composite {
    use CompositeResult::{Fail, None, Pass, SoftPass};
    let auth = &facts.auth;
    if *auth == AuthFacts::default() {
        return Composite::UNCHECKED; // without a network nobody looked
    }
    let from = match auth.dmarc_domain.as_str() {
        "" => facts.from().domain().to_lowercase(),
        domain => domain.to_owned(),
    };
    if from.is_empty() {
        return Composite::UNCHECKED;
    }
    let is_own = facts.own_domains.iter().any(|own| *own == from || from.ends_with(&format!(".{own}")));
    let asks = auth.dmarc_policy != DmarcPolicy::None;
    let aligned = aligned_reason(auth, &from);
    match auth.dmarc {
        AuthResult::Pass => code(Pass, 100),
        AuthResult::Fail if is_vouched_for(auth, trusted_sealers) => code(Pass, Composite::ARC_OVERRIDE),
        AuthResult::Fail if asks => code(Fail, if is_own { 10 } else { 0 }),
        AuthResult::TempError | AuthResult::PermError if aligned.is_some() => code(Pass, 111),
        AuthResult::TempError => code(None, 301),
        // Strict alignment was asked for, or no policy at all: what is related is still something.
        _ if aligned.is_some() => code(Pass, aligned.unwrap_or(101)),
        _ if same_organisation(&auth.client_name, &from) => code(SoftPass, 202),
        _ if open(auth) => code(None, 301),
        _ => code(Fail, if is_own { 601 } else { 1 }),
    }
}

fn aligned_reason(auth: &AuthFacts, from: &str) -> Option<u16> {
    let signed = auth.dkim.iter().any(|d| d.result == AuthResult::Pass && same_organisation(&d.domain, from));
    let sent = auth.spf == AuthResult::Pass && same_organisation(&auth.spf_domain, from);
    signed.then_some(101).or(sent.then_some(102))
}

/// Whether something that might have spoken for the domain could not be looked up.
fn open(auth: &AuthFacts) -> bool {
    auth.spf == AuthResult::TempError || auth.dkim.iter().any(|d| d.result == AuthResult::TempError)
}

/// From the newest set backwards as far as every sealer is trusted: a set behind a stranger's may be the stranger's words.
fn is_vouched_for(auth: &AuthFacts, trusted_sealers: &[String]) -> bool {
    let is_trusted = |domain: &str| trusted_sealers.iter().any(|t| domain == t || domain.ends_with(&format!(".{t}")));
    auth.arc == AuthResult::Pass
        && auth.arc_sets.iter().take_while(|set| is_trusted(&set.domain)).any(|set| set.dmarc == AuthResult::Pass)
}

/// By the public suffix list: there is no record whose tree could be walked.
fn same_organisation(a: &str, b: &str) -> bool {
    let organisation = |name: &str| psl::domain_str(name).unwrap_or(name).to_ascii_lowercase();
    !a.is_empty() && !b.is_empty() && organisation(a) == organisation(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{ArcSetFact, DkimFact, MailboxFact};

    /// `spf[:domain] dkim[:domain] dmarc[:policy]`, with `ptr:name`, `arc:domain=result` and `own`.
    fn facts(text: &str) -> Facts {
        let mut facts = Facts::default();
        facts.header.from.push(MailboxFact { name: String::new(), address: "a@news.fabrikam.com".into() });
        facts.auth.dmarc_domain = "news.fabrikam.com".into();
        for word in text.split_whitespace() {
            let (key, value) = word.split_once(':').unwrap_or((word, ""));
            let (value, extra) = value.split_once('@').unwrap_or((value, ""));
            let result = AuthResult::parse(value).unwrap_or(AuthResult::None);
            match key {
                "spf" => (facts.auth.spf, facts.auth.spf_domain) = (result, extra.into()),
                "dkim" => facts.auth.dkim.push(DkimFact {
                    result,
                    domain: extra.into(),
                    selector: "s".into(),
                    reason: String::new(),
                }),
                "dmarc" => {
                    facts.auth.dmarc = result;
                    facts.auth.dmarc_policy = DmarcPolicy::parse(extra).unwrap_or(DmarcPolicy::None);
                }
                "ptr" => facts.auth.client_name = value.into(),
                "arc" => {
                    facts.auth.arc = AuthResult::Pass;
                    let dmarc = AuthResult::parse(extra).unwrap();
                    facts.auth.arc_sets.push(ArcSetFact { domain: value.into(), dmarc });
                }
                "broken_arc" => facts.auth.arc = AuthResult::Fail,
                "own" => facts.own_domains = vec!["fabrikam.com".into()],
                other => panic!("{other}"),
            }
        }
        facts
    }

    #[test]
    fn reasons() {
        let check = |text: &str, expected: &str| {
            let found = composite(&facts(text), &["lists.example".into()]);
            assert_eq!(format!("{} {:03}", found.result, found.reason), expected, "{text}");
        };
        check("spf:fail@fabrikam.com dmarc:fail@reject", "fail 000");
        check("spf:fail@fabrikam.com dmarc:fail@quarantine own", "fail 010");
        check("spf:none@x.example dmarc:fail@none", "fail 001");
        check("spf:none@x.example dmarc:none own", "fail 601");
        check("spf:pass@x.example dmarc:none", "fail 001");
        check("dmarc:pass@reject", "pass 100");
        check("dkim:pass@fabrikam.com dmarc:none", "pass 101");
        check("spf:pass@bounce.fabrikam.com dmarc:none", "pass 102");
        check("spf:pass@bounce.fabrikam.com dmarc:fail@none", "pass 102"); // strict alignment was asked for
        check("spf:pass@bounce.fabrikam.com dmarc:fail@reject", "fail 000"); // and is meant
        check("spf:pass@fabrikam.com dmarc:temperror", "pass 111");
        check("spf:fail@fabrikam.com dmarc:temperror", "none 301");
        check("spf:temperror@fabrikam.com dmarc:none", "none 301");
        check("spf:none@x.example dmarc:none ptr:mx1.fabrikam.com", "softpass 202");
        check("spf:none@x.example dmarc:none ptr:mx1.fabrikam.com.evil.example", "fail 001");
        check("dmarc:fail@reject arc:lists.example@pass", "pass 130");
        check("dmarc:fail@reject arc:a.lists.example@none arc:lists.example@pass", "pass 130");
        check("dmarc:fail@reject arc:lists.example@fail", "fail 000");
        check("dmarc:fail@reject arc:evil.example@pass", "fail 000");
        check("dmarc:fail@reject arc:evil.example@none arc:lists.example@pass", "fail 000");
        check("dmarc:fail@reject broken_arc arc:lists.example@pass broken_arc", "fail 000");
        assert_eq!(composite(&Facts::default(), &[]), Composite::UNCHECKED);
    }
}
