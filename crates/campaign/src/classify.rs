//! Whether a hit was a person or a machine: a pure function over all hits of one copy.
//!
//! What tells is how the hits of *one copy* lie in time, never how long after acceptance they came, and never a hidden
//! link. A scanner works through a message: several different links within moments, or every link, or the pixel and every
//! link. A person opens, reads, and follows one link or another. Hits are cut into bursts; each burst is judged by
//! itself, so that a copy that was scanned and later read by its person has machine hits and a person's hits.
//!
//! A hit that may still turn out to be the start of a burst is unsettled until [`SETTLE_MS`] have passed in silence;
//! later hits re-score earlier ones.

use model::{HitId, LinkId, Timestamp};
use serde::{Deserialize, Serialize};

/// Two fetches further apart than this belong to different bursts.
pub const BURST_GAP_MS: i64 = 2_000;
/// So many different links in one burst, and nobody reads that fast.
pub const BURST_LINKS: usize = 3;
/// Two different links this close are a machine's.
pub const PAIR_GAP_MS: i64 = 500;
/// A slow scanner: every link of a message, each within this of the one before.
pub const SWEEP_GAP_MS: i64 = 5_000;
/// The same link so often in one burst: no double click.
pub const REPEATS: usize = 4;
/// On a message with one or two links: pixel and every link this close.
pub const ALL_AT_ONCE_MS: i64 = 300;
/// A pixel fetched by the same client this close to a burst of links belongs to it.
pub const PIXEL_GAP_MS: i64 = 500;
/// How long a hit stays unsettled after the last one near it.
pub const SETTLE_MS: i64 = BURST_GAP_MS;

/// What was fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HitKind {
    /// The pixel.
    Open,
    /// A link.
    Click,
}

/// Who it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// A person.
    Person,
    /// A scanner, a prefetcher, a proxy.
    Machine,
    /// Not settled yet.
    Unknown,
}

impl HitKind {
    /// The word in SQL and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            HitKind::Open => "open",
            HitKind::Click => "click",
        }
    }

    /// The kind for a word.
    pub fn parse(word: &str) -> Option<Self> {
        [HitKind::Open, HitKind::Click].into_iter().find(|kind| kind.as_str() == word)
    }
}

impl Class {
    /// The word in SQL and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Class::Person => "person",
            Class::Machine => "machine",
            Class::Unknown => "unknown",
        }
    }

    /// The class for a word.
    pub fn parse(word: &str) -> Option<Self> {
        [Class::Person, Class::Machine, Class::Unknown].into_iter().find(|class| class.as_str() == word)
    }
}

/// One fetch, as far as classification looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// Its id.
    pub id: HitId,
    /// Pixel or link.
    pub kind: HitKind,
    /// Which link; `None` for the pixel.
    pub link_id: Option<LinkId>,
    /// When.
    pub at: Timestamp,
    /// HTTP method.
    pub method: String,
    /// User-Agent.
    pub user_agent: String,
    /// The client, hashed with the day's salt.
    pub client_hash: String,
}

/// What one hit turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scored {
    /// Which.
    pub id: HitId,
    /// Who.
    pub class: Class,
    /// Why, in a few words; empty while unsettled.
    pub reason: &'static str,
}

const HEAD: &str = "HEAD request";
const KNOWN_AGENT: &str = "known scanner";
const PREFETCH: &str = "mail privacy prefetch";
const BURST: &str = "several links within moments";
const PAIR: &str = "two links at once";
const SWEEP: &str = "every link one after the other";
const REPEATED: &str = "the same link again and again";
const ALL_AT_ONCE: &str = "pixel and every link at once";
const WITH_BURST: &str = "pixel fetched along with a burst of links";
const HUMAN_OPEN: &str = "opened on its own";
const HUMAN_CLICK: &str = "followed on its own";

/// User-Agents that say what they are, in lower case.
const AGENTS: &[&str] = &[
    "landfall-scanner",
    "safelinks",
    "barracuda",
    "proofpoint",
    "mimecast",
    "bot",
    "crawler",
    "spider",
    "scanner",
    "curl/",
    "wget/",
    "python-requests",
    "go-http-client",
    "headlesschrome",
    "linkcheck",
    "preview",
];

/// Scores all hits of one copy. `link_count`: tracked links of the campaign. The order of `hits` does not matter.
pub fn classify(hits: &[Hit], link_count: usize, now: Timestamp) -> Vec<Scored> {
    let mut sorted: Vec<&Hit> = hits.iter().collect();
    sorted.sort_by_key(|hit| (hit.at, hit.id));
    let sweep = sweep(&sorted, link_count);
    let mut scored = Vec::with_capacity(hits.len());
    let clicks: Vec<&Hit> = sorted.iter().copied().filter(|hit| hit.kind == HitKind::Click).collect();
    for burst in clicks.chunk_by(|a, b| b.at.ms_since(a.at) <= BURST_GAP_MS) {
        let machine = machine_burst(burst, &sorted, link_count);
        for hit in burst {
            let reason = alone(hit).or(machine).or_else(|| sweep.contains(&hit.id).then_some(SWEEP));
            scored.push(settle(hit, reason, burst, HUMAN_CLICK, now));
        }
    }
    let machine_clicks: Vec<(&Hit, &'static str)> = clicks
        .iter()
        .filter_map(|click| {
            let verdict = scored.iter().find(|s: &&Scored| s.id == click.id)?;
            (verdict.class == Class::Machine).then_some((*click, verdict.reason))
        })
        .collect();
    for open in sorted.iter().copied().filter(|hit| hit.kind == HitKind::Open) {
        let reason = alone(open).or_else(|| beside_machine(open, &machine_clicks));
        scored.push(settle(open, reason, &[open], HUMAN_OPEN, now));
    }
    scored.sort_by_key(|s| s.id);
    scored
}

/// What one hit says by itself.
fn alone(hit: &Hit) -> Option<&'static str> {
    if hit.method.eq_ignore_ascii_case("HEAD") {
        return Some(HEAD);
    }
    // Apple's proxy fetches pixels with exactly this and nothing more.
    if hit.user_agent == "Mozilla/5.0" {
        return Some(PREFETCH);
    }
    let agent = hit.user_agent.to_ascii_lowercase();
    (agent.is_empty() || AGENTS.iter().any(|mark| agent.contains(mark))).then_some(KNOWN_AGENT)
}

/// What a burst of clicks says.
fn machine_burst(burst: &[&Hit], all: &[&Hit], link_count: usize) -> Option<&'static str> {
    let links = different_links(burst);
    if links >= BURST_LINKS {
        return Some(BURST);
    }
    let pair = |w: &[&Hit]| w[0].link_id != w[1].link_id && w[1].at.ms_since(w[0].at) <= PAIR_GAP_MS;
    if burst.windows(2).any(pair) {
        return Some(PAIR);
    }
    if burst.len() >= REPEATS && links == 1 {
        return Some(REPEATED);
    }
    // With one or two links in all, only the pixel can tell: nobody reads before it is shown.
    let near = |open: &Hit| {
        open.kind == HitKind::Open && burst.iter().all(|click| click.at.ms_since(open.at).abs() <= ALL_AT_ONCE_MS)
    };
    (links == link_count && link_count < BURST_LINKS && all.iter().any(|hit| near(hit))).then_some(ALL_AT_ONCE)
}

fn different_links(hits: &[&Hit]) -> usize {
    let mut links: Vec<Option<LinkId>> = hits.iter().map(|hit| hit.link_id).collect();
    links.sort_unstable();
    links.dedup();
    links.len()
}

/// The hits of slow runs through every link of the message.
fn sweep(sorted: &[&Hit], link_count: usize) -> Vec<HitId> {
    if link_count < BURST_LINKS {
        return Vec::new();
    }
    let clicks: Vec<&Hit> = sorted.iter().copied().filter(|hit| hit.kind == HitKind::Click).collect();
    clicks
        .chunk_by(|a, b| b.at.ms_since(a.at) <= SWEEP_GAP_MS)
        .filter(|run| different_links(run) == link_count)
        .flat_map(|run| run.iter().map(|hit| hit.id))
        .collect()
}

/// A pixel fetched along with a machine's clicks, by the same client.
fn beside_machine(open: &Hit, machine: &[(&Hit, &'static str)]) -> Option<&'static str> {
    machine
        .iter()
        .filter(|(_, reason)| *reason != HEAD)
        .any(|(click, _)| {
            click.client_hash == open.client_hash
                && click.user_agent == open.user_agent
                && click.at.ms_since(open.at).abs() <= PIXEL_GAP_MS
        })
        .then_some(WITH_BURST)
}

/// A machine is one at once; a person only when nothing more came for a while.
fn settle(hit: &Hit, machine: Option<&'static str>, burst: &[&Hit], human: &'static str, now: Timestamp) -> Scored {
    if let Some(reason) = machine {
        return Scored { id: hit.id, class: Class::Machine, reason };
    }
    let last = burst.iter().map(|hit| hit.at).max().unwrap_or(hit.at);
    if now.ms_since(last) < SETTLE_MS {
        return Scored { id: hit.id, class: Class::Unknown, reason: "" };
    }
    Scored { id: hit.id, class: Class::Person, reason: human }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BROWSER: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0 Safari/537.36";
    const LATER: i64 = 86_400_000;

    /// `o@100` is the pixel at 100 ms, `3@100` link 3; `!` after it is HEAD, `~` another client, `#` a scanner's agent.
    fn parse(text: &str) -> Vec<Hit> {
        let one = |(i, word): (usize, &str)| {
            let (what, rest) = word.split_once('@').expect("what@ms");
            let at: i64 = rest.trim_end_matches(['!', '~', '#']).parse().expect("ms");
            Hit {
                id: HitId(i as i64),
                kind: if what == "o" { HitKind::Open } else { HitKind::Click },
                link_id: what.parse().ok().map(LinkId),
                at: Timestamp::from_micros(0).plus_ms(at),
                method: if rest.contains('!') { "HEAD" } else { "GET" }.into(),
                user_agent: if rest.contains('#') { "Barracuda Sentinel (EE)" } else { BROWSER }.into(),
                client_hash: if rest.contains('~') { "other" } else { "same" }.into(),
            }
        };
        text.split_whitespace().enumerate().map(one).collect()
    }

    /// One letter a hit: p, m or u.
    fn check(text: &str, link_count: usize, now_ms: i64, expect: &str) {
        let hits = parse(text);
        let now = Timestamp::from_micros(0).plus_ms(now_ms);
        let letter = |s: &Scored| match s.class {
            Class::Person => 'p',
            Class::Machine => 'm',
            Class::Unknown => 'u',
        };
        let got: String = classify(&hits, link_count, now).iter().map(letter).collect();
        assert_eq!(got, expect, "{text} of {link_count} links at {now_ms}");
        let mut turned = hits;
        turned.reverse();
        let again: String = classify(&turned, link_count, now).iter().map(letter).collect();
        assert_eq!(again, expect, "in reverse: {text}");
    }

    #[test]
    fn people_are_people() {
        check("o@0", 6, LATER, "p");
        check("o@0 1@9000", 6, LATER, "pp");
        check("o@0 1@4000 3@11000", 6, LATER, "ppp");
        check("o@0 1@300", 6, LATER, "pp"); // quick, but one link
        check("o@0 1@2000 2@3000", 6, LATER, "ppp"); // two links a second apart
        check("1@0 1@250", 6, LATER, "pp"); // a double click
        check("o@0 o@500 o@1000", 6, LATER, "ppp"); // a preview pane renders again and again
        check("1@0 2@60000 3@120000 4@180000 5@240000 6@300000", 6, LATER, "pppppp"); // read to the end
        check("1@5000", 1, LATER, "p");
    }

    #[test]
    fn scanners_are_machines() {
        check("1@0 2@3 3@5 4@9 5@12 6@15", 6, LATER, "mmmmmm"); // every link, quickly
        check("1@30000 2@30003 3@30005 4@30009 5@30012 6@30015", 6, LATER, "mmmmmm"); // the delay does not matter
        check("o@0 1@10 2@20 3@30 4@40 5@50 6@60", 6, LATER, "mmmmmmm");
        check("1@0 2@1000 3@2100 4@3000 5@4000 6@5000", 6, LATER, "mmmmmm"); // a second each
        check("1@0 2@4000 3@8000 4@12000 5@16000 6@20000", 6, LATER, "mmmmmm"); // slowly through all of them
        check("1@0 3@900 5@1900", 6, LATER, "mmm"); // a sample of the links
        check("1@0 2@40", 6, LATER, "mm");
        check("o@0 1@20", 1, LATER, "mm"); // all there is, at once
        check("1@0~ 2@10 3@20~", 6, LATER, "mmm"); // from several addresses
        check("1@0 1@200 1@400 1@600", 6, LATER, "mmmm");
        check("1@0! o@9000! 2@20000!", 6, LATER, "mmm");
        check("o@0# 4@60000#", 6, LATER, "mm");
    }

    #[test]
    fn a_scanned_copy_that_is_read_later_has_both() {
        check("1@0 2@3 3@5 4@9 5@12 6@15 o@40000 2@52000", 6, LATER, "mmmmmmpp");
        check("o@0 2@8000 1@30000 2@30003 3@30005 4@30009 5@30012 6@30015", 6, LATER, "ppmmmmmm");
        check(
            "1@0 2@3 3@5 4@9 5@12 6@15 1@30000 2@30003 3@30005 4@30009 5@30012 6@30015 o@60000",
            6,
            LATER,
            "mmmmmmmmmmmmp",
        );
        check("1@0 2@3 3@5 o@8~", 6, LATER, "mmmp"); // read elsewhere at that moment
        check("1@0! o@3000 1@9000", 6, LATER, "mpp");
    }

    #[test]
    fn nobody_is_a_person_before_the_silence() {
        check("o@0", 6, 1_000, "u");
        check("1@0", 6, 1_999, "u");
        check("1@0", 6, 2_000, "p");
        check("1@0 2@1200", 6, 2_500, "uu");
        check("1@0 2@1200 3@2400", 6, 2_500, "mmm"); // and the first is re-scored
    }

    #[test]
    fn prefetch_by_agent() {
        let mut hits = parse("o@0 1@9000");
        hits[0].user_agent = "Mozilla/5.0".into();
        hits[1].user_agent = String::new();
        let now = Timestamp::from_micros(0).plus_ms(LATER);
        let reasons: Vec<_> = classify(&hits, 6, now).iter().map(|s| (s.class, s.reason)).collect();
        assert_eq!(reasons, [(Class::Machine, PREFETCH), (Class::Machine, KNOWN_AGENT)]);
    }
}
