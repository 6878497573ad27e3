//! What the agent has in memory: jobs waiting per route, and how many connections serve each.
//!
//! One lock, held for moments and never across an await. Everything here is bounded by `claimed_max`; the limits say how
//! many lanes there may be.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::{
    Address, CampaignId, CopyId, DeliveryId, MailOptions, MessageId, OrganisationId, RcptOptions, ReversePath,
    Timestamp,
};
use store::BodyRef;
use tokio::sync::Notify;

use crate::RouteKey;
use crate::lane::Seat;
use crate::limits::{Denied, Level, Permit};
use crate::plan::Plan;
use crate::shaping::Source;

/// A claimed delivery.
#[derive(Debug, Clone)]
pub(crate) struct Claimed {
    pub(crate) id: DeliveryId,
    pub(crate) organisation_id: OrganisationId,
    pub(crate) copy_id: CopyId,
    pub(crate) campaign_id: Option<CampaignId>,
    /// `None`: the stored text is no address (a defect of whoever enqueued it).
    pub(crate) recipient: Option<Address>,
    pub(crate) recipient_domain: String,
    pub(crate) attempt_count: i64,
    pub(crate) give_up_at: Timestamp,
    pub(crate) created_at: Timestamp,
    /// What the sender asked for of the mail,
    pub(crate) options: MailOptions,
    /// and of this recipient.
    pub(crate) rcpt_options: RcptOptions,
    /// Whether the sender may be told what became of it.
    pub(crate) may_tell: bool,
    /// Whether the sender has been told that it takes long.
    pub(crate) is_delay_told: bool,
    /// A report of ours about TLS.
    pub(crate) is_tls_report: bool,
    /// The desk's epoch when it was claimed.
    pub(crate) epoch: u64,
}

/// One transaction to make: a message for some recipients on one route.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) message_id: MessageId,
    pub(crate) reverse_path: ReversePath,
    pub(crate) body: BodyRef,
    pub(crate) deliveries: Vec<Claimed>,
}

impl Job {
    /// The domain of the reverse-path; empty when it is null.
    pub(crate) fn sender_domain(&self) -> &str {
        self.reverse_path.address().map_or("", |address| address.domain().as_str())
    }
}

struct Route {
    plan: Arc<Plan>,
    waiting: VecDeque<Job>,
    lane_count: usize,
    /// Lanes that have a connection.
    connected_count: usize,
    /// When it got its newest lane, counted in lanes: who waits longest comes first.
    seated_at: u64,
    wake: Arc<Notify>,
}

#[derive(Default)]
struct State {
    routes: HashMap<RouteKey, Route>,
    lane_count: usize,
    claimed_count: usize,
    by_domain: HashMap<String, usize>,
    /// Levels that are full, with the routes that have no lane for that reason and that nobody has made way for yet.
    crowded: HashMap<Level, usize>,
    /// Lanes started so far.
    seat_count: u64,
}

/// What [`Desk::lanes_wanted`] found.
pub(crate) struct Wanted {
    /// Lanes to start; each counts from here on.
    pub(crate) seats: Vec<Seat>,
    /// What waits for groups that are left alone, and until when.
    pub(crate) paused: Vec<(Vec<Job>, Timestamp)>,
}

impl Route {
    fn new(plan: &Arc<Plan>) -> Route {
        Route {
            plan: plan.clone(),
            waiting: VecDeque::new(),
            lane_count: 0,
            connected_count: 0,
            seated_at: 0,
            wake: Arc::default(),
        }
    }
}

/// See the module.
pub(crate) struct Desk {
    state: Mutex<State>,
    /// Told when there is room for more, or a lane ended.
    pub(crate) room: Notify,
    /// Rows went back to the queue that may be due soon: worth a look.
    pub(crate) look: AtomicBool,
    /// When the first of our leases ends unless it is renewed, in microseconds.
    leased_until: AtomicI64,
    /// How often leases were renewed too late: what was claimed before may have become somebody else's.
    epoch: AtomicU64,
    /// Claiming and giving back take turns.
    pub(crate) claiming: tokio::sync::Mutex<()>,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Desk {
            state: Mutex::new(State::default()),
            room: Notify::new(),
            look: AtomicBool::new(false),
            leased_until: AtomicI64::new(0),
            epoch: AtomicU64::new(0),
            claiming: tokio::sync::Mutex::new(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deliveries in memory: waiting, being tried, or being recorded.
    pub(crate) fn claimed_count(&self) -> usize {
        self.state().claimed_count
    }

    /// Domains with `count_max` or more deliveries in memory.
    pub(crate) fn full_domains(&self, count_max: usize) -> Vec<String> {
        let state = self.state();
        state.by_domain.iter().filter(|(_, count)| **count >= count_max).map(|(domain, _)| domain.clone()).collect()
    }

    /// Until when everything on the desk is ours.
    pub(crate) fn leased_until(&self) -> Timestamp {
        Timestamp::from_micros(self.leased_until.load(Ordering::Relaxed))
    }

    /// See [`Claimed::epoch`].
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    /// Leases have ended before they were renewed: whoever sends what was claimed until now looks first whether it is ours still.
    pub(crate) fn begin_epoch(&self) {
        self.epoch.fetch_add(1, Ordering::Relaxed);
    }

    /// All leases were renewed until then.
    pub(crate) fn renewed(&self, until: Timestamp) {
        self.leased_until.store(until.as_micros(), Ordering::Relaxed);
    }

    /// The newest plan of a route that has work or a lane.
    pub(crate) fn plan(&self, key: &RouteKey) -> Option<Arc<Plan>> {
        self.state().routes.get(key).map(|route| route.plan.clone())
    }

    /// Deliveries that are claimed; they count from here on, wherever they wait.
    pub(crate) fn enter<'a>(&self, deliveries: impl Iterator<Item = &'a Claimed>) {
        let mut state = self.state();
        for delivery in deliveries {
            state.claimed_count += 1;
            *state.by_domain.entry(delivery.recipient_domain.clone()).or_default() += 1;
        }
    }

    /// A job whose plan is known, of deliveries that have entered.
    pub(crate) fn add(&self, plan: &Arc<Plan>, job: Job) {
        let mut state = self.state();
        let route = state.routes.entry(plan.key.clone()).or_insert_with(|| Route::new(plan));
        if !Arc::ptr_eq(&route.plan, plan) {
            route.plan = plan.clone(); // the newer one
        }
        route.waiting.push_back(job);
        route.wake.notify_one();
    }

    /// Deliveries that are recorded (or given back) leave.
    pub(crate) fn leave(&self, deliveries: &[Claimed]) {
        let mut state = self.state();
        state.claimed_count = state.claimed_count.saturating_sub(deliveries.len());
        for delivery in deliveries {
            if let Some(count) = state.by_domain.get_mut(&delivery.recipient_domain) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    state.by_domain.remove(&delivery.recipient_domain);
                }
            }
        }
        drop(state);
        self.room.notify_one();
    }

    /// The lanes to start now, as many as `open` gives permits for: one for each route that has none, the longest without
    /// first, then more for those that have more work than lanes.
    pub(crate) fn lanes_wanted(&self, open: impl Fn(&Plan) -> Result<(Permit, Source), Denied>) -> Wanted {
        let mut guard = self.state();
        let state = &mut *guard;
        let mut wanted = Wanted { seats: Vec::new(), paused: Vec::new() };
        state.crowded.clear();
        let has_work = |(_, route): &(&RouteKey, &Route)| route.lane_count < route.waiting.len();
        let mut keys: Vec<(usize, u64, RouteKey)> = state
            .routes
            .iter()
            .filter(has_work)
            .map(|(key, route)| (route.lane_count, route.seated_at, key.clone()))
            .collect();
        keys.sort_unstable_by_key(|(lane_count, seated_at, _)| (*lane_count, *seated_at));
        let first_then_more = [1, usize::MAX].iter().flat_map(|most| keys.iter().map(move |(_, _, key)| (*most, key)));
        for (most, key) in first_then_more {
            let Some(route) = state.routes.get_mut(key) else { continue };
            while route.lane_count < route.waiting.len().min(most) {
                match open(&route.plan) {
                    Ok((permit, source)) => {
                        route.lane_count += 1;
                        state.lane_count += 1;
                        state.seat_count += 1;
                        route.seated_at = state.seat_count;
                        let plan = route.plan.clone();
                        wanted.seats.push(Seat { key: key.clone(), plan, source, permit });
                    }
                    Err(Denied::Paused(until)) => {
                        wanted.paused.push((route.waiting.drain(..).collect(), until));
                    }
                    Err(Denied::Full(level)) => {
                        if route.lane_count == 0 && most == 1 {
                            *state.crowded.entry(level).or_default() += 1;
                        }
                        break;
                    }
                }
            }
        }
        state.routes.retain(|_, route| route.lane_count > 0 || !route.waiting.is_empty());
        wanted
    }

    /// Hand-overs that wait, by the name of their group.
    pub(crate) fn waiting_by_group(&self) -> HashMap<String, usize> {
        let mut counts = HashMap::new();
        for route in self.state().routes.values() {
            let count: usize = route.waiting.iter().map(|job| job.deliveries.len()).sum();
            *counts.entry(route.plan.group.name().to_owned()).or_default() += count;
        }
        counts
    }

    /// The next job of a route, or what to wait for.
    pub(crate) fn take(&self, key: &RouteKey) -> Result<Job, Arc<Notify>> {
        let mut state = self.state();
        // A lane's route stays as long as the lane.
        let Some(route) = state.routes.get_mut(key) else { return Err(Arc::default()) };
        let job = route.waiting.pop_front().ok_or_else(|| route.wake.clone());
        if !route.waiting.is_empty() {
            route.wake.notify_one(); // one wake-up may stand for many jobs: pass it on
        }
        job
    }

    /// Whether a lane must end because a route without any waits for one of its places, at `levels`. The last lane of a route
    /// need not before `is_turn_over`. One lane is asked for each route that waits.
    pub(crate) fn must_yield(&self, key: &RouteKey, levels: &[Level], is_turn_over: bool) -> bool {
        let mut guard = self.state();
        let state = &mut *guard;
        if state.crowded.is_empty() {
            return false;
        }
        let has_others = state.routes.get(key).is_some_and(|route| route.lane_count > 1);
        if !has_others && !is_turn_over {
            return false;
        }
        let Some(level) = levels.iter().find(|level| state.crowded.contains_key(level)) else { return false };
        if let Some(count) = state.crowded.get_mut(level) {
            *count -= 1;
            if *count == 0 {
                state.crowded.remove(level);
            }
        }
        true
    }

    /// Everything that waits on a route.
    pub(crate) fn drain(&self, key: &RouteKey) -> Vec<Job> {
        self.state().routes.get_mut(key).map(|route| route.waiting.drain(..).collect()).unwrap_or_default()
    }

    /// A lane ends. False: there is work again, it goes on.
    pub(crate) fn end_lane(&self, key: &RouteKey, even_with_work: bool) -> bool {
        let mut guard = self.state();
        let state = &mut *guard;
        let Some(route) = state.routes.get_mut(key) else { return true };
        if !even_with_work && !route.waiting.is_empty() {
            return false;
        }
        route.lane_count -= 1;
        state.lane_count -= 1;
        if route.lane_count == 0 && route.waiting.is_empty() {
            state.routes.remove(key);
        }
        drop(guard);
        self.room.notify_one();
        true
    }

    pub(crate) fn connected(&self, key: &RouteKey, is_connected: bool) {
        let mut state = self.state();
        if let Some(route) = state.routes.get_mut(key) {
            let count = route.connected_count;
            route.connected_count = if is_connected { count + 1 } else { count.saturating_sub(1) };
        }
    }

    /// Everything that waits for a host that nobody reaches: it shares the fate of the try that failed.
    pub(crate) fn drain_unreachable(&self, key: &RouteKey) -> Vec<Job> {
        let mut state = self.state();
        match state.routes.get_mut(key) {
            Some(route) if route.connected_count == 0 => route.waiting.drain(..).collect(),
            _ => Vec::new(),
        }
    }

    /// Takes deliveries that nobody has begun out again: those in `ids`, or all.
    pub(crate) fn withdraw(&self, ids: Option<&HashSet<DeliveryId>>) -> Vec<Claimed> {
        let mut state = self.state();
        let mut taken = Vec::new();
        for route in state.routes.values_mut() {
            for job in &mut route.waiting {
                let is_meant = |d: &Claimed| ids.is_none_or(|ids| ids.contains(&d.id));
                taken.extend(job.deliveries.extract_if(.., |d| is_meant(d)));
            }
            route.waiting.retain(|job| !job.deliveries.is_empty());
        }
        taken
    }
}
