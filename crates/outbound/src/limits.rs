//! The limits as a tree: everything, the local address, the MX group, the domain, the sender. A connection needs room at
//! each level that it passes, and so does a mail. An MX group that says "too much" gets less: half as many connections at
//! once, then pauses that double, and slowly more again when mail is accepted or time passes.
//!
//! All of it is memory of one process. It is bounded ([`NODES_MAX`]) and asks the clock of the store, so that a pause is
//! what tests say it is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::Timestamp;
use serde::{Deserialize, Serialize};

use crate::queue_acts::group_of;
use crate::shaping::Shaped;

/// Nodes kept. Past it, those that nobody uses are forgotten; then new ones are not limited by themselves.
const NODES_MAX: usize = 10_000;
/// A node that nobody used for so long may be forgotten.
const IDLE_MS: i64 = 10 * 60_000;
/// Replies about mails that a group's share of refusals is taken of.
const WINDOW: usize = 20;
/// Refusals for now among [`WINDOW`] from which on they speak about us and not about mailboxes, and the fewest looked at.
const REFUSED_MAX_PERCENT: usize = 30;
const HEARD_MIN: usize = 5;
/// Many connections hear the same refusal at the same moment: only the first of them halves.
const HALVE_AGAIN_MS: i64 = 5_000;
/// Accepted mails per allowed connection before one more is allowed. Single refusals among them do not count against it: there is
/// always somebody whose mailbox is full, and a host with many people would never be believed again.
const GROW_AFTER: usize = 20;
/// After so long without being told "too much", twice as many connections are allowed, however little mail there is.
const EASE_MS: i64 = 15 * 60_000;
/// A level that turned somebody away so lately, and is full, counts as one that limits.
const FULL_MS: i64 = 60_000;
/// Doublings of a pause.
const DOUBLINGS_MAX: u32 = 16;
/// How much longer or shorter a pause may be, so that groups do not wake together.
const JITTER_PERCENT: i64 = 20;
const REPLY_CHARS_MAX: usize = 300;

/// A place in the tree.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Level {
    Global,
    /// A local identity, by name.
    Source(String),
    /// An MX group, by name.
    Group(String),
    /// A recipient domain.
    Domain(String),
    /// A sender domain.
    Sender(String),
}

impl Level {
    /// The name at its level; empty for the whole.
    pub(crate) fn name(&self) -> &str {
        match self {
            Level::Global => "",
            Level::Source(name) | Level::Group(name) | Level::Domain(name) | Level::Sender(name) => name,
        }
    }
}

/// What a level allows; `None`: anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) connections: Option<usize>,
    pub(crate) per_second: Option<u32>,
    pub(crate) per_minute: Option<u32>,
}

/// What a group's hosts did.
#[derive(Debug, Clone)]
pub(crate) enum Heard<'a> {
    /// A connection came about.
    Connected,
    /// None came about.
    NoConnection { cause: &'a str },
    /// A host that wants to know who we are does not know us.
    LoginRefused { cause: &'a str },
    /// A mail was accepted.
    Accepted { reply: &'a str },
    /// 421, or 4yz before any recipient: it is about the connection.
    Slower { reply: &'a str },
    /// 450, 451, 452 or 454 for a mail or a recipient: it may be about a mailbox.
    Later { reply: &'a str },
    /// 5yz for a mail or a recipient.
    Refused { reply: &'a str },
}

/// The kinds of levels, from the outermost.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
pub enum LimitLevel {
    /// All mail of a process.
    Global,
    /// A local address.
    Source,
    /// Mail hosts that count as one.
    Group,
    /// A recipient domain.
    Domain,
    /// A sender domain.
    Sender,
}

impl LimitLevel {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            LimitLevel::Global => "global",
            LimitLevel::Source => "source",
            LimitLevel::Group => "group",
            LimitLevel::Domain => "domain",
            LimitLevel::Sender => "sender",
        }
    }
}

/// What a level does to mail now.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
pub enum LimitState {
    /// Nothing goes there before a moment: its hosts said "too much" again and again, cannot be reached, or refuse our login.
    Paused,
    /// Fewer connections than configured: its hosts said "too much".
    Slowed,
    /// Mail waits for its turn under a configured rate.
    Rated,
    /// All configured connections are in use and more are wanted.
    Full,
    /// It limits nothing.
    Free,
}

impl LimitState {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            LimitState::Paused => "paused",
            LimitState::Slowed => "slowed",
            LimitState::Rated => "rated",
            LimitState::Full => "full",
            LimitState::Free => "free",
        }
    }
}

/// One line of the limits as others see them.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub struct LimitLine {
    /// Which kind of level.
    pub level: LimitLevel,
    /// The name at this level; empty for the whole.
    pub name: String,
    /// What the queue shows the hosts of a group as; empty at other levels.
    pub mx_group: String,
    /// What it does now.
    pub state: LimitState,
    /// Connections open or reserved now.
    pub connections_open: usize,
    /// Connections allowed now; `None`: any number.
    pub connections_max: Option<usize>,
    /// Mails allowed in a second; `None`: any number.
    pub messages_per_second_max: Option<u32>,
    /// Mails allowed in a minute; `None`: any number.
    pub messages_per_minute_max: Option<u32>,
    /// The group is left alone until then.
    pub paused_until: Option<Timestamp>,
    /// When it gets better by itself, if it does: the pause ends, more connections are allowed, the last mail that was put off
    /// has its turn.
    pub eases_at: Option<Timestamp>,
    /// Why fewer connections are allowed, or none; empty when nothing is wrong.
    pub reason: String,
    /// What a host of the group said last.
    pub last_reply: String,
    /// When it said so.
    pub last_reply_at: Option<Timestamp>,
    /// Hand-overs that wait for this group in memory.
    pub waiting_count: usize,
}

impl LimitLine {
    /// The levels' order: from the outermost, and those that do most first among their like.
    pub(crate) fn rank(&self) -> (LimitState, LimitLevel, &str) {
        (self.state, self.level, &self.name)
    }
}

/// The tree. Cheap to clone; clones are the same tree.
#[derive(Clone)]
pub struct Limits {
    shared: Arc<Shared>,
}

struct Shared {
    nodes: Mutex<HashMap<Level, Node>>,
    rng: Mutex<fastrand::Rng>,
    clock: Arc<dyn model::Clock>,
}

#[derive(Debug, Default)]
struct Node {
    bounds: Bounds,
    open_count: usize,
    second: Bucket,
    minute: Bucket,
    adapted: Adapted,
    used_at: Timestamp,
    /// Where the next mail that had to be put off is put.
    next_slot_at: Timestamp,
    /// When somebody was last turned away because all connections were in use.
    denied_at: Option<Timestamp>,
}

/// What a group taught us.
#[derive(Debug, Default)]
struct Adapted {
    /// Connections allowed, when fewer than the bounds.
    cap: Option<usize>,
    /// Those that the bounds allow, as they were when it began.
    most: usize,
    /// Accepted mails since the last change.
    accepted_count: usize,
    halved_at: Option<Timestamp>,
    /// From when on time speaks for the host again.
    quiet_since: Timestamp,
    pause_count: u32,
    paused_at: Timestamp,
    paused_until: Option<Timestamp>,
    /// The newest wish of somebody that was heard, and whether its try is still to be made.
    asked_at: Timestamp,
    is_on_trial: bool,
    failed_connection_count: u32,
    /// The last replies: whether each was a refusal for now.
    window: std::collections::VecDeque<bool>,
    reason: String,
    last_reply: String,
    last_reply_at: Option<Timestamp>,
}

/// A bucket that leaks at a rate (GCRA): the theoretical time of the next mail, in microseconds.
#[derive(Debug, Default, Clone, Copy)]
struct Bucket {
    next_micros: i64,
}

/// A connection's place at each level; it is given back when dropped.
pub(crate) struct Permit {
    limits: Limits,
    levels: Vec<Level>,
}

/// Why there is no permit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Denied {
    /// All connections of this level are in use; they will end.
    Full(Level),
    /// Not before.
    Paused(Timestamp),
}

impl Limits {
    pub(crate) fn new(clock: Arc<dyn model::Clock>, seed: u64) -> Limits {
        let rng = Mutex::new(fastrand::Rng::with_seed(seed));
        Limits { shared: Arc::new(Shared { nodes: Mutex::default(), rng, clock }) }
    }

    fn nodes(&self) -> MutexGuard<'_, HashMap<Level, Node>> {
        self.shared.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more connection at every level, or none at any.
    pub(crate) fn open(&self, path: &[(Level, Bounds)]) -> Result<Permit, Denied> {
        let now = self.shared.clock.now();
        let mut nodes = self.nodes();
        make_room(&mut nodes, path, now);
        for (level, bounds) in path {
            let Some(node) = nodes.get_mut(level) else { continue };
            node.adapted.ease(now);
            if let Some(until) = node.adapted.paused_until.filter(|until| *until > now) {
                return Err(Denied::Paused(until));
            }
            if node.allowed(*bounds).is_some_and(|most| node.open_count >= most) {
                (node.bounds, node.denied_at) = (*bounds, Some(now));
                return Err(Denied::Full(level.clone()));
            }
        }
        let mut levels = Vec::with_capacity(path.len());
        for (level, bounds) in path {
            if let Some(node) = nodes.get_mut(level) {
                (node.bounds, node.used_at) = (*bounds, now);
                node.open_count += 1;
                levels.push(level.clone());
            }
        }
        Ok(Permit { limits: self.clone(), levels })
    }

    /// Counts one mail at every level; when one of them is over its rate, counts none and says when there is room.
    pub(crate) fn mail(&self, path: &[(Level, Bounds)]) -> Result<(), Timestamp> {
        if path.iter().all(|(_, bounds)| bounds.per_second.is_none() && bounds.per_minute.is_none()) {
            return Ok(());
        }
        let now = self.shared.clock.now();
        let mut nodes = self.nodes();
        make_room(&mut nodes, path, now);
        let mut free_at = now.as_micros();
        for (level, bounds) in path {
            let Some(node) = nodes.get(level) else { continue };
            free_at = free_at.max(node.second.free_at(bounds.per_second, SECOND_MICROS));
            free_at = free_at.max(node.minute.free_at(bounds.per_minute, MINUTE_MICROS));
        }
        if free_at > now.as_micros() {
            return Err(Timestamp::from_micros(free_at));
        }
        for (level, bounds) in path {
            let Some(node) = nodes.get_mut(level) else { continue };
            (node.bounds, node.used_at) = (*bounds, now);
            node.second.take(bounds.per_second, SECOND_MICROS, now);
            node.minute.take(bounds.per_minute, MINUTE_MICROS, now);
        }
        Ok(())
    }

    /// Where a mail that is put off goes: behind those that were put off before it, at the pace of the slowest level.
    pub(crate) fn slot(&self, path: &[(Level, Bounds)], free_at: Timestamp) -> Timestamp {
        let mut nodes = self.nodes();
        let mut at = free_at;
        for (level, bounds) in path {
            let Some(node) = nodes.get_mut(level) else { continue };
            let Some(interval) = interval_micros(*bounds) else { continue };
            at = at.max(node.next_slot_at);
            node.next_slot_at = Timestamp::from_micros(at.as_micros().saturating_add(interval));
        }
        at
    }

    /// The end of a group's pause, if it has one now.
    pub(crate) fn paused_until(&self, group: &Level) -> Option<Timestamp> {
        let now = self.shared.clock.now();
        self.nodes().get(group).and_then(|node| node.adapted.paused_until).filter(|until| *until > now)
    }

    /// Somebody asked at `asked_at` that mail for a group be tried now: a pause that had begun by then ends, once for each time
    /// that somebody asks. If that try does not do better, the group is left alone again at once.
    pub(crate) fn lift(&self, group: &Level, asked_at: Timestamp) {
        if let Some(node) = self.nodes().get_mut(group) {
            node.adapted.lift(asked_at);
        }
    }

    /// Takes in what a group's host did.
    pub(crate) fn heard(&self, group: &Level, shaped: &Shaped, heard: &Heard<'_>) {
        let now = self.shared.clock.now();
        let jitter =
            self.shared.rng.lock().unwrap_or_else(PoisonError::into_inner).i64(-JITTER_PERCENT..=JITTER_PERCENT);
        let mut nodes = self.nodes();
        let Some(node) = nodes.get_mut(group) else { return };
        let open_count = node.open_count;
        node.used_at = now;
        node.adapted.hear(heard, shaped, open_count, now, jitter);
    }

    /// The tree as it is now: what is paused first, then what is slowed, and so on, each by level and name. `waiting` says how many hand-overs
    /// wait in memory for each group.
    pub(crate) fn lines(&self, waiting: &HashMap<String, usize>) -> Vec<LimitLine> {
        let now = self.shared.clock.now();
        let mut nodes = self.nodes();
        let mut lines: Vec<LimitLine> = nodes.iter_mut().map(|(level, node)| node.line(level, waiting, now)).collect();
        lines.sort_by(|a, b| a.rank().cmp(&b.rank()));
        lines
    }
}

impl Permit {
    /// The levels where it has a place.
    pub(crate) fn levels(&self) -> &[Level] {
        &self.levels
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut nodes = self.limits.nodes();
        for level in &self.levels {
            if let Some(node) = nodes.get_mut(level) {
                node.open_count = node.open_count.saturating_sub(1);
            }
        }
    }
}

/// Makes the nodes of a path, forgetting idle ones when there are too many.
fn make_room(nodes: &mut HashMap<Level, Node>, path: &[(Level, Bounds)], now: Timestamp) {
    if nodes.len() + path.len() > NODES_MAX {
        nodes.retain(|_, node| {
            let is_paused = node.adapted.paused_until.is_some_and(|until| until > now);
            node.open_count > 0 || is_paused || now.ms_since(node.used_at) < IDLE_MS
        });
    }
    for (level, bounds) in path {
        if nodes.len() < NODES_MAX && !nodes.contains_key(level) {
            nodes.insert(level.clone(), Node { bounds: *bounds, used_at: now, ..Node::default() });
        }
    }
}

impl Node {
    fn allowed(&self, bounds: Bounds) -> Option<usize> {
        match (bounds.connections, self.adapted.cap) {
            (Some(most), Some(cap)) => Some(most.min(cap)),
            (most, cap) => most.or(cap),
        }
    }

    fn line(&mut self, level: &Level, waiting: &HashMap<String, usize>, now: Timestamp) -> LimitLine {
        self.adapted.ease(now);
        let kind = match level {
            Level::Global => LimitLevel::Global,
            Level::Source(_) => LimitLevel::Source,
            Level::Group(_) => LimitLevel::Group,
            Level::Domain(_) => LimitLevel::Domain,
            Level::Sender(_) => LimitLevel::Sender,
        };
        let name = level.name();
        let is_group = kind == LimitLevel::Group;
        let paused_until = self.adapted.paused_until.filter(|until| *until > now);
        let rated_until = Some(self.next_slot_at).filter(|until| *until > now);
        let allowed = self.allowed(self.bounds);
        let is_full = allowed.is_some_and(|most| self.open_count >= most)
            && self.denied_at.is_some_and(|at| now.ms_since(at) < FULL_MS);
        let (state, eases_at) = match (paused_until, rated_until) {
            (Some(until), _) => (LimitState::Paused, Some(until)),
            (None, _) if self.adapted.cap.is_some() => (LimitState::Slowed, Some(self.adapted.eases_at())),
            (None, Some(until)) => (LimitState::Rated, Some(until)),
            (None, None) if is_full => (LimitState::Full, None),
            (None, None) => (LimitState::Free, None),
        };
        let is_said = matches!(state, LimitState::Paused | LimitState::Slowed);
        LimitLine {
            level: kind,
            name: name.to_owned(),
            mx_group: if is_group { queue_group(name) } else { String::new() },
            state,
            connections_open: self.open_count,
            connections_max: allowed,
            messages_per_second_max: self.bounds.per_second,
            messages_per_minute_max: self.bounds.per_minute,
            paused_until,
            eases_at,
            reason: if is_said { self.adapted.reason.clone() } else { String::new() },
            last_reply: self.adapted.last_reply.clone(),
            last_reply_at: self.adapted.last_reply_at,
            waiting_count: if is_group { waiting.get(name).copied().unwrap_or(0) } else { 0 },
        }
    }
}

/// What the queue shows the hosts of a group as: their organisation, or the group's own name where it names no hosts.
pub(crate) fn queue_group(name: &str) -> String {
    let is_hosts = name.contains('.') && !name.contains(' ');
    if is_hosts { group_of(name.split(',').next().unwrap_or(name)) } else { name.to_lowercase() }
}

impl Adapted {
    fn hear(&mut self, heard: &Heard<'_>, shaped: &Shaped, open_count: usize, now: Timestamp, jitter: i64) {
        match heard {
            Heard::Connected => (self.failed_connection_count, self.is_on_trial) = (0, false),
            Heard::NoConnection { cause } => {
                self.say(cause, now);
                self.failed_connection_count += 1;
                if self.is_on_trial || self.failed_connection_count >= shaped.connect_failures {
                    let reason = match self.is_on_trial {
                        true => "the connection that was asked for failed too".to_owned(),
                        false => format!("{} connections failed in a row", self.failed_connection_count),
                    };
                    self.pause(shaped, now, jitter, reason);
                }
            }
            Heard::LoginRefused { cause } => {
                self.say(cause, now);
                self.pause(shaped, now, jitter, "our login is refused".into());
            }
            Heard::Accepted { reply } => {
                self.say(reply, now);
                self.note(false);
                self.accepted(shaped);
            }
            Heard::Slower { reply } => {
                self.say(reply, now);
                self.note(true);
                self.back_off(shaped, open_count, now, jitter);
            }
            Heard::Later { reply } => {
                self.say(reply, now);
                self.note(true);
                let refused_count = self.window.iter().filter(|is_refusal| **is_refusal).count();
                if self.window.len() >= HEARD_MIN && refused_count * 100 >= self.window.len() * REFUSED_MAX_PERCENT {
                    self.back_off(shaped, open_count, now, jitter);
                }
            }
            Heard::Refused { reply } => {
                self.say(reply, now);
                self.note(false);
            }
        }
    }

    fn lift(&mut self, asked_at: Timestamp) {
        if asked_at <= self.asked_at {
            return;
        }
        self.asked_at = asked_at;
        if self.paused_until.is_some() && self.paused_at <= asked_at {
            (self.paused_until, self.halved_at, self.is_on_trial) = (None, None, true);
        }
    }

    fn say(&mut self, words: &str, now: Timestamp) {
        self.last_reply = words.chars().take(REPLY_CHARS_MAX).collect();
        self.last_reply_at = Some(now);
    }

    fn note(&mut self, is_refusal: bool) {
        if self.window.len() == WINDOW {
            self.window.pop_front();
        }
        self.window.push_back(is_refusal);
    }

    fn accepted(&mut self, shaped: &Shaped) {
        self.pause_count = 0;
        let Some(cap) = self.cap else { return self.reason.clear() };
        self.accepted_count += 1;
        if self.accepted_count >= cap * GROW_AFTER {
            self.allow(cap + 1, shaped.connections);
        }
    }

    fn allow(&mut self, cap: usize, most: usize) {
        self.accepted_count = 0;
        self.cap = (cap < most).then_some(cap);
        if self.cap.is_none() {
            self.reason.clear();
        }
    }

    /// Takes in that time has passed: each [`EASE_MS`] without a complaint allows twice as many connections.
    fn ease(&mut self, now: Timestamp) {
        while let Some(cap) = self.cap {
            let at = self.eases_at();
            if at > now {
                return;
            }
            self.quiet_since = at;
            self.allow(cap.saturating_mul(2).max(1), self.most);
        }
    }

    /// When time alone allows more.
    fn eases_at(&self) -> Timestamp {
        let since = self.paused_until.map_or(self.quiet_since, |until| until.max(self.quiet_since));
        since.plus_ms(EASE_MS)
    }

    /// Half as many connections; from one connection on, a pause.
    fn back_off(&mut self, shaped: &Shaped, open_count: usize, now: Timestamp, jitter: i64) {
        (self.most, self.quiet_since, self.accepted_count) = (shaped.connections, now, 0);
        if self.halved_at.is_some_and(|at| now.ms_since(at) < HALVE_AGAIN_MS) {
            return;
        }
        self.halved_at = Some(now);
        self.window.clear();
        let current = self.cap.unwrap_or(shaped.connections).min(open_count.max(1));
        if current > 1 {
            self.cap = Some(current / 2);
            self.reason = format!("answered {}", self.last_reply);
            return;
        }
        self.cap = Some(1);
        let reason = format!("answered {}", self.last_reply);
        self.pause(shaped, now, jitter, reason);
    }

    fn pause(&mut self, shaped: &Shaped, now: Timestamp, jitter: i64, reason: String) {
        let first_ms = i64::from(shaped.pause_first_s) * 1_000;
        let longest_ms = i64::from(shaped.pause_longest_s) * 1_000;
        let doubled_ms = first_ms.saturating_mul(1 << self.pause_count.min(DOUBLINGS_MAX)).min(longest_ms);
        self.pause_count += 1;
        (self.failed_connection_count, self.is_on_trial, self.paused_at) = (0, false, now);
        self.paused_until = Some(now.plus_ms(doubled_ms + doubled_ms * jitter / 100));
        self.reason = reason;
    }
}

const SECOND_MICROS: i64 = 1_000_000;
const MINUTE_MICROS: i64 = 60 * SECOND_MICROS;
/// What may come at once, as a part of the period.
const BURST_PART: i64 = 10;

impl Bucket {
    fn free_at(self, rate: Option<u32>, period: i64) -> i64 {
        rate.map_or(0, |_| self.next_micros - period / BURST_PART)
    }

    fn take(&mut self, rate: Option<u32>, period: i64, now: Timestamp) {
        if let Some(rate) = rate {
            self.next_micros = self.next_micros.max(now.as_micros()) + period / i64::from(rate.max(1));
        }
    }
}

/// Between two mails, by the slower of the two rates.
fn interval_micros(bounds: Bounds) -> Option<i64> {
    let of = |rate: Option<u32>, period: i64| rate.map(|rate| period / i64::from(rate.max(1)));
    of(bounds.per_second, SECOND_MICROS).max(of(bounds.per_minute, MINUTE_MICROS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Shaping;
    use model::TestClock;

    fn fresh() -> (Arc<TestClock>, Limits) {
        let clock = Arc::new(TestClock::at(Timestamp::from_micros(1_000_000_000_000)));
        (clock.clone(), Limits::new(clock, 7))
    }

    fn group() -> Level {
        Level::Group("mx.example".into())
    }

    fn path(connections: usize, per_minute: Option<u32>) -> Vec<(Level, Bounds)> {
        let global = Bounds { connections: Some(100), ..Bounds::default() };
        vec![
            (Level::Global, global),
            (group(), Bounds { connections: Some(connections), per_second: None, per_minute }),
        ]
    }

    fn shaped(connections: usize) -> Shaped {
        let shaping = serde_json::json!({ "default": { "connections": connections } });
        serde_json::from_value::<Shaping>(shaping).unwrap().of("a.example", &["mx.example"])
    }

    fn of_group(limits: &Limits) -> LimitLine {
        limits.lines(&HashMap::new()).into_iter().find(|line| line.level == LimitLevel::Group).unwrap()
    }

    #[test]
    fn a_place_is_taken_at_every_level_or_at_none() {
        let (_, limits) = fresh();
        let held: Vec<Permit> = (0..3).map(|_| limits.open(&path(3, None)).ok().unwrap()).collect();
        assert_eq!(limits.open(&path(3, None)).err(), Some(Denied::Full(group())));
        assert_eq!(of_group(&limits).state, LimitState::Full);
        assert_eq!(of_group(&limits).connections_open, 3);
        drop(held);
        assert!(limits.lines(&HashMap::new()).iter().all(|line| line.connections_open == 0));
    }

    #[test]
    fn too_much_halves_then_pauses_and_acceptance_grows_slowly() {
        let (clock, limits) = fresh();
        let shaped = shaped(8);
        let _held: Vec<Permit> = (0..8).map(|_| limits.open(&path(8, None)).ok().unwrap()).collect();
        let slower = || limits.heard(&group(), &shaped, &Heard::Slower { reply: "421 4.7.0 slow down" });
        let mut caps = Vec::new();
        for _ in 0..3 {
            slower();
            slower(); // the other connections hear it at the same moment
            caps.push(of_group(&limits).connections_max);
            clock.advance_ms(HALVE_AGAIN_MS);
        }
        assert_eq!(caps, [Some(4), Some(2), Some(1)]);
        assert!(of_group(&limits).paused_until.is_none());
        let mut pauses = Vec::new();
        for _ in 0..8 {
            slower();
            let until = of_group(&limits).paused_until.expect("a pause");
            assert_eq!(limits.open(&path(8, None)).err(), Some(Denied::Paused(until)));
            pauses.push(until.ms_since(model::Clock::now(&*clock)));
            clock.set(until.plus_ms(1));
        }
        for (at, pause_ms) in pauses.iter().enumerate() {
            let wanted_ms = (30_000_i64 << at).min(1_800_000);
            assert!((wanted_ms * 80 / 100..=wanted_ms * 120 / 100).contains(pause_ms), "pause {at}: {pause_ms} ms");
        }
        let accepted = || limits.heard(&group(), &shaped, &Heard::Accepted { reply: "250 ok" });
        (0..GROW_AFTER).for_each(|_| accepted());
        assert_eq!(of_group(&limits).connections_max, Some(2));
        (0..GROW_AFTER * 100).for_each(|_| accepted());
        let line = of_group(&limits);
        assert_eq!((line.connections_max, line.reason.as_str()), (Some(8), ""), "all is well again");
    }

    #[test]
    fn single_refusals_speak_of_mailboxes() {
        let (_, limits) = fresh();
        let shaped = shaped(8);
        let _held: Vec<Permit> = (0..8).map(|_| limits.open(&path(8, None)).ok().unwrap()).collect();
        for n in 0..200 {
            let heard =
                if n % 10 == 0 { Heard::Later { reply: "450 grey" } } else { Heard::Accepted { reply: "250 ok" } };
            limits.heard(&group(), &shaped, &heard);
        }
        assert_eq!(of_group(&limits).connections_max, Some(8), "one in ten is nothing");
        (0..10).for_each(|_| limits.heard(&group(), &shaped, &Heard::Later { reply: "450 slow" }));
        assert_eq!(of_group(&limits).connections_max, Some(4));
    }

    /// A host with many people always has one whose mailbox is full.
    #[test]
    fn single_refusals_do_not_keep_a_host_slowed_for_ever() {
        let (_, limits) = fresh();
        let shaped = shaped(4);
        let _held: Vec<Permit> = (0..4).map(|_| limits.open(&path(4, None)).ok().unwrap()).collect();
        limits.heard(&group(), &shaped, &Heard::Slower { reply: "421 slow down" });
        assert_eq!((of_group(&limits).state, of_group(&limits).connections_max), (LimitState::Slowed, Some(2)));
        for n in 0..200 {
            let heard =
                if n % 10 == 0 { Heard::Later { reply: "450 full" } } else { Heard::Accepted { reply: "250 ok" } };
            limits.heard(&group(), &shaped, &heard);
        }
        let line = of_group(&limits);
        assert_eq!((line.state, line.connections_max, line.reason.as_str()), (LimitState::Free, Some(4), ""));
    }

    /// Where there is little mail, nobody accepts twenty of it.
    #[test]
    fn time_alone_makes_a_host_well_again() {
        let (clock, limits) = fresh();
        let shaped = shaped(8);
        let held: Vec<Permit> = (0..8).map(|_| limits.open(&path(8, None)).ok().unwrap()).collect();
        for _ in 0..3 {
            limits.heard(&group(), &shaped, &Heard::Slower { reply: "421 slow down" });
            clock.advance_ms(HALVE_AGAIN_MS);
        }
        drop(held);
        let line = of_group(&limits);
        assert_eq!((line.state, line.connections_max), (LimitState::Slowed, Some(1)));
        clock.set(line.eases_at.expect("a moment"));
        assert_eq!(of_group(&limits).connections_max, Some(2));
        clock.advance_ms(EASE_MS - 1);
        assert_eq!(of_group(&limits).connections_max, Some(2));
        clock.advance_ms(1 + EASE_MS);
        let line = of_group(&limits);
        assert_eq!((line.state, line.connections_max, line.reason.as_str()), (LimitState::Free, Some(8), ""));
        assert_eq!(line.eases_at, None);
    }

    #[test]
    fn a_refused_login_is_a_pause_at_once() {
        let (clock, limits) = fresh();
        let shaped = shaped(8);
        let held = limits.open(&path(8, None)).ok().unwrap();
        limits.heard(&group(), &shaped, &Heard::LoginRefused { cause: "535 5.7.8 no" });
        let line = of_group(&limits);
        assert_eq!(
            (line.state, line.reason.as_str(), line.eases_at),
            (LimitState::Paused, "our login is refused", line.paused_until)
        );
        clock.set(line.paused_until.unwrap().plus_ms(1));
        drop(held);
        assert!(limits.open(&path(8, None)).is_ok(), "and then it is tried again");
    }

    #[test]
    fn connections_that_fail_in_a_row_pause() {
        let (_, limits) = fresh();
        let shaped = shaped(8);
        let _held = limits.open(&path(8, None)).ok().unwrap();
        let hear = |heard: Heard<'_>| limits.heard(&group(), &shaped, &heard);
        (0..4).for_each(|_| hear(Heard::NoConnection { cause: "refused" }));
        hear(Heard::Connected);
        (0..4).for_each(|_| hear(Heard::NoConnection { cause: "refused" }));
        assert!(of_group(&limits).paused_until.is_none());
        hear(Heard::NoConnection { cause: "refused" });
        let line = of_group(&limits);
        assert!(line.paused_until.is_some() && line.reason.contains("in a row"), "{line:?}");
    }

    #[test]
    fn a_wish_ends_a_pause_once_and_the_next_failure_begins_another() {
        let (clock, limits) = fresh();
        let shaped = shaped(8);
        let hear = |heard: Heard<'_>| limits.heard(&group(), &shaped, &heard);
        let now = || model::Clock::now(&*clock);
        let _held = limits.open(&path(8, None)).ok().unwrap();
        (0..5).for_each(|_| hear(Heard::NoConnection { cause: "refused" }));
        assert_eq!(of_group(&limits).state, LimitState::Paused);
        limits.lift(&group(), now().plus_ms(-1));
        assert_eq!(of_group(&limits).state, LimitState::Paused, "a wish of before has had its try");
        clock.advance_ms(1);
        let asked_at = now();
        limits.lift(&group(), asked_at);
        assert!(of_group(&limits).paused_until.is_none() && limits.open(&path(8, None)).is_ok());
        hear(Heard::NoConnection { cause: "refused" });
        let line = of_group(&limits);
        assert_eq!((line.state, line.reason.contains("asked for")), (LimitState::Paused, true), "{line:?}");
        limits.lift(&group(), asked_at);
        assert_eq!(of_group(&limits).state, LimitState::Paused, "the same wish ends no second pause");
        // "Too much" counts at once as well, however lately it was said before.
        clock.advance_ms(1);
        limits.lift(&group(), now());
        hear(Heard::Slower { reply: "421 slow down" });
        assert_eq!(of_group(&limits).state, LimitState::Paused);
        clock.advance_ms(1);
        limits.lift(&group(), now());
        hear(Heard::Connected);
        hear(Heard::NoConnection { cause: "refused" });
        assert!(
            of_group(&limits).paused_until.is_none(),
            "it went well once: failures are counted from the first again"
        );
    }

    #[test]
    fn rates_let_a_burst_through_and_spread_the_rest() {
        let (clock, limits) = fresh();
        let path = path(8, Some(60));
        let mut sent_count = 0;
        while limits.mail(&path).is_ok() {
            sent_count += 1;
        }
        assert!((2..=10).contains(&sent_count), "{sent_count}");
        let free_at = limits.mail(&path).unwrap_err();
        let slots: Vec<i64> = (0..3).map(|_| limits.slot(&path, free_at).ms_since(free_at)).collect();
        assert_eq!(slots, [0, 1_000, 2_000]);
        clock.set(free_at);
        assert!(limits.mail(&path).is_ok() && limits.mail(&path).is_err());
    }

    #[test]
    fn what_nobody_uses_is_forgotten() {
        let (clock, limits) = fresh();
        for n in 0..NODES_MAX * 2 {
            let path = [(Level::Group(format!("{n}.example")), Bounds::default())];
            drop(limits.open(&path));
            clock.advance_ms(1_000);
        }
        assert!(limits.nodes().len() <= NODES_MAX);
    }
}
