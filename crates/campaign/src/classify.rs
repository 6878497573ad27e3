//! Whether a hit was a person or a machine: a pure function over all hits of one copy.
//!
//! What tells is how the hits of *one copy* lie in time, never how long after acceptance they came, and never a hidden
//! link. A scanner works through a message: several different links within moments, or every link one after the other. A
//! person opens, reads, and follows one link or another. So:
//!
//! 1. *Tight* runs (neighbours within [`PAIR_GAP_MS`]) with two different links are a machine's.
//! 2. *Chains* ([`BURST_GAP_MS`]) of [`BURST_LINKS`] different links, and *sweeps* ([`SWEEP_GAP_MS`]) through every link,
//!    are a machine's too, but only the first fetch of each link in them, and none of a link that a tight run beside it
//!    had fetched already: that one is the person who reads a copy that was just scanned.
//! 3. A pixel belongs to the machine whose fetches it lies among, measured by that machine's own pace.
//!
//! A hit that may still turn out to be the start of a run is unsettled until [`SETTLE_MS`] have passed in silence; later
//! hits re-score earlier ones.

use model::{HitId, LinkId, Timestamp};
use serde::{Deserialize, Serialize};

/// Neighbours of a chain are at most this far apart.
pub const BURST_GAP_MS: i64 = 2_000;
/// So many different links in one chain, and nobody reads that fast.
pub const BURST_LINKS: usize = 3;
/// Two different links this close are a machine's.
pub const PAIR_GAP_MS: i64 = 500;
/// A slow scanner: every link of a message, each within this of the one before.
pub const SWEEP_GAP_MS: i64 = 5_000;
/// The same link so often in one tight run: no double click.
pub const REPEATS: usize = 4;
/// On a message with one link: pixel and link this close.
pub const ALL_AT_ONCE_MS: i64 = 300;
/// A pixel this close to a machine's fetch belongs to it, however fast that machine is.
pub const PIXEL_GAP_MIN_MS: i64 = 250;
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
const PROBED: &str = "probed with HEAD, then fetched";
const ALL_AT_ONCE: &str = "pixel and link at once";
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
    let (clicks, opens): (Vec<&Hit>, Vec<&Hit>) = sorted.into_iter().partition(|hit| hit.kind == HitKind::Click);
    let marks = mark_clicks(&clicks, &opens, link_count);
    let pace = paces(&clicks, &marks);
    let mut scored = Vec::with_capacity(hits.len());
    for (i, click) in clicks.iter().enumerate() {
        let last = end_of_chain(&clicks, i);
        scored.push(settle(click, marks[i], last, HUMAN_CLICK, now));
    }
    for open in opens {
        let reason = alone(open).or_else(|| beside_machine(open, &clicks, &pace));
        scored.push(settle(open, reason, open.at, HUMAN_OPEN, now));
    }
    scored.sort_by_key(|s| s.id);
    scored
}

type Marks = Vec<Option<&'static str>>;

/// Which clicks are a machine's, and why.
fn mark_clicks(clicks: &[&Hit], opens: &[&Hit], link_count: usize) -> Marks {
    let mut marks: Marks = clicks.iter().map(|click| alone(click)).collect();
    for run in runs(clicks, PAIR_GAP_MS) {
        let Some(reason) = tight(&clicks[run.clone()], opens, link_count) else { continue };
        for mark in &mut marks[run] {
            mark.get_or_insert(reason);
        }
    }
    let tight_marks = marks.clone();
    let links_wanted = |gap| if gap == SWEEP_GAP_MS { link_count.max(BURST_LINKS) } else { BURST_LINKS };
    for (gap, reason) in [(BURST_GAP_MS, BURST), (SWEEP_GAP_MS, SWEEP)] {
        for run in runs(clicks, gap) {
            while mark_first_fetches(clicks, run.clone(), &tight_marks, &mut marks, links_wanted(gap), reason) {}
        }
    }
    marks
}

/// Neighbours within `gap_ms`, as ranges.
fn runs(clicks: &[&Hit], gap_ms: i64) -> Vec<std::ops::Range<usize>> {
    let mut start = 0;
    let mut found = Vec::new();
    for run in clicks.chunk_by(|a, b| b.at.ms_since(a.at) <= gap_ms) {
        found.push(start..start + run.len());
        start += run.len();
    }
    found
}

/// What a tight run says.
fn tight(run: &[&Hit], opens: &[&Hit], link_count: usize) -> Option<&'static str> {
    let links = different_links(run.iter().copied());
    if links >= 2 {
        return Some(if links >= BURST_LINKS { BURST } else { PAIR });
    }
    if run.len() >= REPEATS {
        return Some(REPEATED);
    }
    if run.len() > 1 && run.iter().any(|hit| alone(hit) == Some(HEAD)) {
        return Some(PROBED);
    }
    // With one link in all, only the pixel can tell: nobody reads before it is shown.
    let at_once = |open: &&Hit| run.iter().all(|click| click.at.ms_since(open.at).abs() <= ALL_AT_ONCE_MS);
    (link_count == 1 && opens.iter().any(at_once)).then_some(ALL_AT_ONCE)
}

/// Marks the first fetch of each link in a slower run, where there are enough links; whether it marked any.
fn mark_first_fetches(
    clicks: &[&Hit],
    run: std::ops::Range<usize>,
    tight_marks: &Marks,
    marks: &mut Marks,
    links_wanted: usize,
    reason: &'static str,
) -> bool {
    let had: Vec<_> = run.clone().filter(|&i| tight_marks[i].is_some()).map(|i| clicks[i].link_id).collect();
    let mut first: Vec<usize> = Vec::new();
    for i in run.filter(|&i| marks[i].is_none()) {
        let link = clicks[i].link_id;
        if !had.contains(&link) && first.iter().all(|&known| clicks[known].link_id != link) {
            first.push(i);
        }
    }
    let mut all = had;
    all.extend(first.iter().map(|&i| clicks[i].link_id));
    all.sort_unstable();
    all.dedup();
    if first.is_empty() || all.len() < links_wanted {
        return false;
    }
    for i in first {
        marks[i] = Some(reason);
    }
    true
}

fn different_links<'h>(hits: impl Iterator<Item = &'h Hit>) -> usize {
    let mut links: Vec<Option<LinkId>> = hits.map(|hit| hit.link_id).collect();
    links.sort_unstable();
    links.dedup();
    links.len()
}

/// When the chain that a click is in ended: what comes later cannot change it but through a sweep.
fn end_of_chain(clicks: &[&Hit], from: usize) -> Timestamp {
    let steps = clicks[from..].windows(2).take_while(|w| w[1].at.ms_since(w[0].at) <= BURST_GAP_MS).count();
    clicks[from + steps].at
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

/// For each of a machine's clicks in company: how close a pixel must be to belong to it, in milliseconds. Twice the gap
/// to its neighbours, since it fetches pixels at the pace at which it fetches links.
fn paces(clicks: &[&Hit], marks: &Marks) -> Vec<Option<i64>> {
    let in_company = |i: usize| marks[i].is_some_and(|reason| [BURST, PAIR, SWEEP, ALL_AT_ONCE].contains(&reason));
    let gap = |a: usize, b: usize| clicks[b].at.ms_since(clicks[a].at);
    (0..clicks.len())
        .map(|i| {
            let before = i.checked_sub(1).filter(|&b| in_company(b)).map(|b| gap(b, i));
            let after = Some(i + 1).filter(|&a| a < clicks.len() && in_company(a)).map(|a| gap(i, a));
            // The shorter one: the longer one may lead to another run.
            let pace = before.into_iter().chain(after).min().unwrap_or(0);
            in_company(i).then(|| (2 * pace).clamp(PIXEL_GAP_MIN_MS, BURST_GAP_MS))
        })
        .collect()
}

/// A pixel among a machine's clicks, by the same client.
fn beside_machine(open: &Hit, clicks: &[&Hit], pace: &[Option<i64>]) -> Option<&'static str> {
    let belongs = |(click, pace): (&&Hit, &Option<i64>)| {
        pace.is_some_and(|pace| click.at.ms_since(open.at).abs() <= pace)
            && click.client_hash == open.client_hash
            && click.user_agent == open.user_agent
    };
    clicks.iter().zip(pace).any(belongs).then_some(WITH_BURST)
}

/// A machine is one at once; a person only when nothing more came for a while.
fn settle(hit: &Hit, machine: Option<&'static str>, last: Timestamp, human: &'static str, now: Timestamp) -> Scored {
    if let Some(reason) = machine {
        return Scored { id: hit.id, class: Class::Machine, reason };
    }
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
        check("1@0 2@100 3@900 4@1800 5@1900 6@2700", 6, LATER, "mmmmmm"); // in fits and starts
        check("1@0 2@900 3@1800 1@2700 2@3600 3@4500", 3, LATER, "mmmmmm"); // twice through all of them
        check("1@0 o@1100 2@1000 3@2000 4@3000", 6, LATER, "mmmmm"); // a slow one fetches the pixel at its pace
        check("1@0! 1@40", 6, LATER, "mm"); // probed, then fetched
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
        // A person who is there just before or just after the scanner, on the same machine.
        check("1@0 2@3 3@5 4@9 5@12 6@15 2@1515", 6, LATER, "mmmmmmp");
        check("2@0 1@1000 2@1003 3@1005 4@1009 5@1012 6@1015", 6, LATER, "pmmmmmm");
        check("1@0 2@3 3@5 4@9 5@12 6@15 o@700 2@3000 5@7000", 6, LATER, "mmmmmmppp");
        check("1@0 2@3 3@5 4@9 5@12 6@15 o@300", 6, LATER, "mmmmmmp");
        check("1@0 2@1000 3@2000 4@3000 5@4000 6@5000 2@6000", 6, LATER, "mmmmmmp");
        // Fast links, and a pixel that a busy network held up.
        check("o@0 1@200 2@205 3@210 4@215 5@220 6@225", 6, LATER, "mmmmmmm");
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
