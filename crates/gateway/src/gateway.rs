//! The handler: receive, enrich, judge, decide, commit, answer.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use directory::{CopyTokens, Directory, DirectoryError, FailureMode, OwnCopy, Protection, ProtectionCache, Recipient};
use mailbox::FolderRole;
use message::Authenticator;
use model::{
    Address, ClientInfo, Disposition, Envelope, EventKind, Facts, MessageId, QuarantineReason, Reply, Unjudged, Verdict,
};
use smtp::server::ServerStats;
use smtp::{CancellationToken, Handler, Server};
use store::{NewEvent, Op, Store, StoreError, Submission, Topic, Trouble, values};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::GatewayConfig;
use crate::beside::Beside;
use crate::bounces::Reports;
use crate::commit::Landing;
use crate::decide::{self, Action, Addressee, Plan};
use crate::enrich::{Enricher, Mail};
use crate::incoming::Incoming;
use crate::limits::Limits;
use crate::stats::GatewayStats;
use crate::submission::Outgoing;
use crate::told::tell_of_success;
use crate::unjudged::{self, BypassWatch};
use crate::writing::Writing;

/// A conflict is sorted out and the commit tried again at most this often.
const COMMIT_TRIES_MAX: usize = 3;

/// The inbound gateway of one organisation. Cheap to clone; clones are the same gateway.
#[derive(Clone)]
pub struct Gateway {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) directory: Directory,
    protection: ProtectionCache,
    enricher: Enricher,
    reports: Reports,
    pub(crate) config: GatewayConfig,
    pub(crate) limits: Limits,
    stats: Arc<GatewayStats>,
    bypass: BypassWatch,
    pub(crate) incoming: Incoming,
}

/// A listener that is being served.
pub struct Listening {
    /// Where it listens.
    pub addr: SocketAddr,
    /// What the SMTP server counts.
    pub server_stats: Arc<ServerStats>,
    pub(crate) task: JoinHandle<()>,
}

impl Listening {
    /// Waits until the listener has stopped, after its token was cancelled.
    pub async fn stopped(self) {
        if let Err(error) = self.task.await {
            tracing::error!("the gateway's listener ended badly: {error}");
        }
    }
}

/// A mail with all that is known of it when it is stored.
pub(crate) struct Judged<'a> {
    pub(crate) mail: &'a Mail,
    pub(crate) facts: &'a Facts,
    pub(crate) verdict: Option<&'a Verdict>,
    /// Whose addresses were taken away after the mail was accepted.
    pub(crate) gone: &'a [Address],
    /// What is stored with it, or neither is.
    pub(crate) beside: Beside<'a>,
}

/// Whose a mail is.
pub(crate) struct Whose {
    /// One for each person, however many of their addresses were named.
    pub(crate) addressees: Vec<Addressee>,
    /// There at RCPT, and gone.
    pub(crate) gone: Vec<Address>,
}

/// Where an address leads.
pub(crate) enum Resolved {
    Here(Recipient),
    /// The return path of a copy of ours: what comes there is a report.
    ReturnPath,
    Unknown,
    /// A postmaster address, and nobody is named for it.
    NoPostmaster,
    Foreign,
}

impl Gateway {
    /// A gateway for the organisation of `directory`. `authenticator` asks the names that SPF, DKIM and DMARC need.
    ///
    /// # Errors
    /// [`DirectoryError`] when the organisation's keys cannot be read.
    pub async fn new(
        directory: Directory,
        protection: ProtectionCache,
        authenticator: Authenticator,
        config: GatewayConfig,
    ) -> Result<Gateway, DirectoryError> {
        let tokens = CopyTokens::new(directory.mac().await?);
        let enricher = Enricher::new(directory.clone(), authenticator, tokens);
        let reports = Reports::new(&directory).await?;
        let bypass = BypassWatch::new(directory.clone(), config.bypass_look_ms);
        let store = directory.store().clone();
        let stats = Arc::new(GatewayStats::default());
        let limits = Limits::new(config.rates.clone());
        let incoming = Incoming::new(&store);
        let inner = Inner { store, directory, protection, enricher, reports, limits, config, stats, bypass, incoming };
        Ok(Gateway { inner: Arc::new(inner) })
    }

    /// Binds `addr` and serves it until `stop` is cancelled. STARTTLS is offered when `tls` is given.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn listen(
        &self,
        addr: SocketAddr,
        tls: Option<Arc<rustls::ServerConfig>>,
        stop: CancellationToken,
    ) -> io::Result<Listening> {
        self.serve(TcpListener::bind(addr).await?, tls, stop)
    }

    /// As [`Gateway::listen`], on a listener that is bound already.
    ///
    /// # Errors
    /// When the listener has no address.
    pub fn serve(
        &self,
        listener: TcpListener,
        tls: Option<Arc<rustls::ServerConfig>>,
        stop: CancellationToken,
    ) -> io::Result<Listening> {
        let addr = listener.local_addr()?;
        let server = Server::new(self.inner.config.server.clone(), tls, Arc::new(self.clone()));
        let server_stats = server.stats().clone();
        let task = tokio::spawn(async move { server.serve(listener, stop).await });
        Ok(Listening { addr, server_stats, task })
    }

    /// What was counted since the start.
    pub fn stats(&self) -> &Arc<GatewayStats> {
        &self.inner.stats
    }
}

impl Gateway {
    /// Early, so that nobody sends a body in vain and a store in trouble is left alone.
    pub(crate) fn can_store(&self) -> Result<(), Reply> {
        match self.inner.store.health().trouble() {
            None => Ok(()),
            Some(Trouble::Full) => Err(no_space()),
            Some(Trouble::Unavailable) => Err(later()),
        }
    }

    /// Whether mail for `recipient` ends here.
    pub(crate) async fn may_reach(&self, recipient: &Address) -> Result<(), Reply> {
        let stats = &self.inner.stats;
        self.can_store()?;
        match self.inner.resolve(recipient).await? {
            Resolved::Here(_) | Resolved::ReturnPath => Ok(()),
            Resolved::Unknown => {
                GatewayStats::add(&stats.unknown_recipient_count);
                Err(Reply::permanent(550, (1, 1), "there is no such user here"))
            }
            Resolved::NoPostmaster => {
                tracing::error!("mail for the postmaster is put off: give the alias postmaster to a person");
                Err(Reply::transient(451, (3, 0), "try again later"))
            }
            Resolved::Foreign => {
                GatewayStats::add(&stats.relay_denied_count);
                Err(Reply::permanent(550, (7, 1), "relaying denied"))
            }
        }
    }
}

impl Handler for Gateway {
    async fn connect(&self, client: &ClientInfo) -> Result<(), Reply> {
        self.inner.limits.connect(client.ip, self.inner.store.now())
    }

    async fn mail(&self, envelope: &Envelope) -> Result<(), Reply> {
        let sender = envelope.reverse_path.address();
        self.inner.limits.mail(envelope.client.ip, sender, self.inner.store.now())
    }

    async fn rcpt(&self, envelope: &Envelope, recipient: &Address) -> Result<(), Reply> {
        self.inner.limits.rcpt(envelope.client.ip, self.inner.store.now())?;
        self.may_reach(recipient).await
    }

    async fn data(&self, envelope: Envelope, body: Vec<u8>) -> Reply {
        let received_at = self.inner.store.now();
        let mail = Mail { envelope: Arc::new(envelope), body: Bytes::from(body), received_at };
        let reply = self.inner.receive(&mail, None).await.unwrap_or_else(|refusal| refusal);
        let stats = &self.inner.stats;
        match reply.class() {
            model::ReplyClass::Completion | model::ReplyClass::Intermediate => GatewayStats::add(&stats.accepted_count),
            model::ReplyClass::Transient => GatewayStats::add(&stats.deferred_count),
            model::ReplyClass::Permanent => GatewayStats::add(&stats.rejected_count),
        }
        reply
    }
}

impl Inner {
    /// The story of one mail. An `Err` is the reply of a mail that is not accepted. `outgoing` is what goes to others of the
    /// same mail: it is stored with it, or neither is.
    pub(crate) async fn receive(&self, mail: &Mail, outgoing: Option<&Outgoing>) -> Result<Reply, Reply> {
        let Whose { addressees, gone } = self.whose(&mail.envelope).await?;
        if !gone.is_empty() {
            // Whoever changed the directory meanwhile decides, the next try tells.
            return Err(later());
        }
        if addressees.is_empty() {
            // Return paths and nothing else: no mailbox, no policy, only what the report says.
            let taken = self.reports.take(&self.config.hostname, mail, outgoing).await;
            return taken.map(accepted).map_err(|error| refusal(&error));
        }
        let is_judged = !self.bypass.is_on().await;
        if !is_judged && outgoing.is_none() && self.incoming.has_room(mail) {
            return self.take_in(mail).await;
        }
        let own_copies = self.enricher.own_copies(mail);
        let mut facts = self.enricher.facts(&self.config, mail, &own_copies).await;
        if facts.header.received_count >= self.config.received_count_max {
            return Err(in_circles());
        }
        let protection = self.protection.current();
        let verdict = match is_judged {
            true => self.judge(&mut facts, &protection).await?,
            false => self.let_in(&mut facts),
        };
        let plans = self.plan(&own_copies, &facts, verdict.as_ref(), &protection, addressees).await?;
        let message_id: MessageId = self.store.next_id();
        if !plans.iter().any(|plan| matches!(plan.action, Action::Reject)) {
            self.reports.note(mail, message_id).await.map_err(|error| refusal(&error))?;
        }
        let beside = outgoing.map_or(Beside::Nothing, Beside::Outgoing);
        let judged = Judged { mail, facts: &facts, verdict: verdict.as_ref(), gone: &[], beside };
        self.commit(&judged, plans, message_id).await
    }

    /// Finds out about a mail that was accepted unjudged, and plans its copies.
    pub(crate) async fn prepare(&self, mail: &Mail, addressees: Vec<Addressee>) -> Result<(Facts, Vec<Plan>), Reply> {
        let own_copies = self.enricher.own_copies(mail);
        let mut facts = self.enricher.facts(&self.config, mail, &own_copies).await;
        let verdict = self.let_in(&mut facts);
        let plans = self.plan(&own_copies, &facts, verdict.as_ref(), &self.protection.current(), addressees).await?;
        Ok((facts, plans))
    }

    /// What a mail says of others of ours, as a report does.
    pub(crate) async fn note_report(&self, mail: &Mail, message_id: MessageId) -> Result<(), Reply> {
        self.reports.note(mail, message_id).await.map_err(|error| refusal(&error))
    }

    pub(crate) async fn resolve(&self, address: &Address) -> Result<Resolved, Reply> {
        let is_own = self.directory.is_own_domain(address.domain());
        // RFC 5321 4.5.1: postmaster without a domain arrives as postmaster at our own name.
        let is_postmaster = address.local().eq_ignore_ascii_case("postmaster")
            && (is_own || address.domain().as_str().eq_ignore_ascii_case(&self.config.hostname));
        if !is_own && !is_postmaster {
            return Ok(Resolved::Foreign);
        }
        match self.reports.return_path(address) {
            Some(Some(_)) => return Ok(Resolved::ReturnPath),
            // A token that is not ours, or too old: the same answer as for anybody who is not here.
            Some(None) => return Ok(Resolved::Unknown),
            None => {}
        }
        if let Some(found) = self.look_up(address).await? {
            return Ok(Resolved::Here(found));
        }
        if !is_postmaster {
            return Ok(Resolved::Unknown);
        }
        for domain in &self.directory.organisation().domains {
            if let Ok(postmaster) = Address::parse(&format!("postmaster@{domain}"))
                && let Some(found) = self.look_up(&postmaster).await?
            {
                return Ok(Resolved::Here(found));
            }
        }
        Ok(Resolved::NoPostmaster)
    }

    pub(crate) async fn look_up(&self, address: &Address) -> Result<Option<Recipient>, Reply> {
        self.directory.recipient(address).await.map_err(|error| {
            tracing::warn!("a recipient cannot be looked up: {error}");
            later()
        })
    }

    /// Whose the forward-paths are.
    pub(crate) async fn whose(&self, envelope: &Envelope) -> Result<Whose, Reply> {
        let mut seen = HashSet::new();
        let mut addressees = Vec::with_capacity(envelope.forward_paths.len());
        let mut gone = Vec::new();
        for path in &envelope.forward_paths {
            match self.resolve(path).await? {
                Resolved::Here(recipient) => {
                    if seen.insert(recipient.person_id) {
                        addressees.push(Addressee { path: path.clone(), recipient });
                    }
                }
                Resolved::ReturnPath => {}
                Resolved::Unknown | Resolved::NoPostmaster | Resolved::Foreign => gone.push(path.clone()),
            }
        }
        Ok(Whose { addressees, gone })
    }

    /// No verdict, since judging is off; why is among the facts.
    fn let_in(&self, facts: &mut Facts) -> Option<Verdict> {
        facts.unjudged = Some(Unjudged::Bypass);
        GatewayStats::add(&self.stats.bypassed_count);
        None
    }

    /// The verdict; `None`, and why among the facts, when judging failed and the organisation wants such mail delivered all
    /// the same.
    async fn judge(&self, facts: &mut Facts, protection: &Protection) -> Result<Option<Verdict>, Reply> {
        if let Some(verdict) = unjudged::judge(self.config.judge, facts, protection) {
            return Ok(Some(verdict));
        }
        tracing::error!("judging a mail panicked");
        let settings = self.directory.settings().await.map_err(|error| {
            tracing::warn!("the settings cannot be read: {error}");
            later()
        })?;
        match settings.failure_mode {
            FailureMode::Defer => Err(later()),
            FailureMode::DeliverUnjudged => {
                facts.unjudged = Some(Unjudged::Failure);
                GatewayStats::add(&self.stats.unjudged_count);
                Ok(None)
            }
        }
    }

    async fn plan(
        &self,
        own_copies: &[(Address, OwnCopy)],
        facts: &Facts,
        verdict: Option<&Verdict>,
        protection: &Protection,
        addressees: Vec<Addressee>,
    ) -> Result<Vec<Plan>, Reply> {
        let mut decisions: Vec<_> = verdict.map_or_else(Vec::new, |verdict| {
            addressees.iter().map(|to| decide::decide(verdict, facts, &protection.policies, to)).collect()
        });
        decide::settle_refusals(&mut decisions);
        let mut decisions = decisions.into_iter();
        let mut plans = Vec::with_capacity(addressees.len());
        for to in addressees {
            let own = own_copies.iter().find(|(path, _)| *path == to.path).map(|(_, own)| *own);
            let copy_id = own.map_or_else(|| self.store.next_id(), |own| own.copy_id);
            let mut decision = decisions.next();
            let action = match &mut decision {
                Some(decision) => self.action(decision).await?,
                None => Action::Deliver(FolderRole::Inbox),
            };
            plans.push(Plan { to, copy_id, own, action, decision });
        }
        Ok(plans)
    }

    async fn action(&self, decision: &mut verdict::Decision) -> Result<Action, Reply> {
        let to = match &decision.disposition {
            Disposition::Deliver => return Ok(Action::Deliver(FolderRole::Inbox)),
            Disposition::Junk => return Ok(Action::Deliver(FolderRole::Junk)),
            Disposition::Quarantine => return Ok(Action::Hold),
            Disposition::Reject => return Ok(Action::Reject),
            Disposition::Drop => return Ok(Action::Drop),
            Disposition::Redirect { to } => to.clone(),
        };
        match self.resolve(&to).await? {
            Resolved::Here(recipient) => Ok(Action::RedirectHere(Addressee { path: to, recipient })),
            Resolved::Foreign => Ok(Action::RedirectAway(to)),
            Resolved::Unknown | Resolved::NoPostmaster | Resolved::ReturnPath => {
                // A policy that names nobody must not lose mail.
                decision.disposition = Disposition::Quarantine;
                decision.reason = Some(QuarantineReason::of(decision.class));
                decision.explanation.push_str("; held, since there is no such address here");
                Ok(Action::Hold)
            }
        }
    }

    /// The ARC set (RFC 8617) for mail that a policy sends on to another host, which can no longer check what we have checked.
    /// Without a key, and when sealing fails, it goes on unsealed: that costs trust elsewhere, not mail.
    async fn seal(&self, mail: &Mail, facts: &Facts, plans: &[Plan]) -> String {
        if !plans.iter().any(|plan| matches!(plan.action, Action::RedirectAway(_))) {
            return String::new();
        }
        let sealed = self.enricher.seal(&self.config.hostname, mail, facts).await;
        sealed.inspect_err(|error| tracing::warn!("mail is sent on unsealed: {error}")).unwrap_or_default()
    }

    /// Stores it all and answers; 2yz only after that.
    pub(crate) async fn commit(
        &self,
        judged: &Judged<'_>,
        mut plans: Vec<Plan>,
        mut message_id: MessageId,
    ) -> Result<Reply, Reply> {
        let &Judged { mail, facts, verdict, gone, beside } = judged;
        let seal = self.seal(mail, facts, &plans).await;
        // What is refused here is sent to nobody.
        let is_refused = plans.iter().any(|plan| matches!(plan.action, Action::Reject));
        let beside = if is_refused { Beside::Nothing } else { beside };
        for _ in 0..COMMIT_TRIES_MAX {
            let landing = Landing {
                store: &self.store,
                hostname: &self.config.hostname,
                organisation_id: self.directory.id(),
                message_id,
                mail,
                facts,
                verdict,
                plans: &plans,
                gone,
                seal: &seal,
            };
            match self.store.commit(beside.with(landing.writing()).submission()).await {
                Ok(()) => {
                    let (store, hostname) = (&self.store, &self.config.hostname);
                    tell_of_success(store, hostname, self.directory.id(), mail, facts, &plans).await;
                    return Ok(self.landed(message_id, &plans));
                }
                // Another worker has entered it: what it wrote is no earlier arrival.
                Err(error) if error.is_conflict() && beside.is_over(&self.store).await => return Err(later()),
                Err(error) if error.is_conflict() && plans.iter().any(|plan| plan.own.is_some()) => {
                    let (first, notes) = self.sort_out(&mut plans, &error).await.map_err(|error| refusal(&error))?;
                    if let (Some(first), true) = (first, plans.is_empty() && gone.is_empty()) {
                        return self.only(notes, beside, first).await;
                    }
                    if !notes.is_empty() {
                        self.store.commit(Submission::rows(notes)).await.map_err(|error| refusal(&error))?;
                    }
                    message_id = self.store.next_id();
                }
                Err(error) => return Err(refusal(&error)),
            }
        }
        Err(later())
    }

    /// Everybody here had it before, as `first`: what is left of the mail are notes, and what stands beside it.
    async fn only(&self, notes: Vec<Op>, beside: Beside<'_>, first: MessageId) -> Result<Reply, Reply> {
        let writing = beside.with(Writing::rows(notes));
        self.store.commit(writing.submission()).await.map_err(|error| refusal(&error))?;
        Ok(accepted(first))
    }

    /// After a conflict: copies that arrived before leave the plan with a note, and what claims to be a copy that is not
    /// there goes on as any other mail. Gives the message that the last resend arrived as first, and the notes.
    async fn sort_out(
        &self,
        plans: &mut Vec<Plan>,
        conflict: &StoreError,
    ) -> Result<(Option<MessageId>, Vec<Op>), StoreError> {
        tracing::debug!("a copy of ours met a conflict: {conflict}");
        let mut first = None;
        let mut notes = Vec::new();
        let mut left = Vec::with_capacity(plans.len());
        for mut plan in std::mem::take(plans) {
            let arrived = match plan.own {
                Some(own) => self.store.query_one("gateway.received_copy", &values![own.copy_id]).await?,
                None => None,
            };
            if let Some(row) = arrived {
                first = Some(row.id::<MessageId>("message_id")?);
                let at = self.store.now();
                let kind = EventKind::ResendSuppressed;
                notes.push(Op::Event(NewEvent::now(self.directory.id(), plan.copy_id, kind, "gateway", at)));
                GatewayStats::add(&self.stats.resend_suppressed_count);
                continue;
            }
            if plan.own.take().is_some() {
                plan.copy_id = self.store.next_id();
            }
            left.push(plan);
        }
        *plans = left;
        Ok((first, notes))
    }

    /// Counts, announces, and makes the reply.
    fn landed(&self, message_id: MessageId, plans: &[Plan]) -> Reply {
        let (bus, stats) = (self.store.bus(), &self.stats);
        let mut campaigns = HashSet::new();
        for plan in plans {
            campaigns.insert(plan.own.map_or(0, |own| own.campaign_id.0));
            match &plan.action {
                Action::Deliver(role) => {
                    let count = if *role == FolderRole::Junk { &stats.junk_count } else { &stats.inbox_count };
                    GatewayStats::add(count);
                    bus.announce(Topic::Mailbox, plan.to.recipient.mailbox_id);
                }
                Action::Hold => GatewayStats::add(&stats.held_count),
                Action::RedirectHere(to) => bus.announce(Topic::Mailbox, to.recipient.mailbox_id),
                Action::RedirectAway(_) => bus.announce(Topic::Delivery, 0_i64),
                Action::Reject | Action::Drop => {}
            }
        }
        for campaign in campaigns {
            bus.announce(Topic::Ledger, campaign);
        }
        // Refused for one means refused for all, see `settle_refusals`.
        if plans.iter().any(|plan| matches!(plan.action, Action::Reject)) {
            return Reply::permanent(550, (7, 1), "this mail is refused by policy");
        }
        accepted(message_id)
    }
}

pub(crate) fn accepted(id: MessageId) -> Reply {
    Reply::ok(250, (0, 0), id.to_string())
}

pub(crate) fn in_circles() -> Reply {
    Reply::permanent(554, (4, 6), "this mail goes round in circles")
}

/// When unsure: later.
pub(crate) fn later() -> Reply {
    Reply::transient(451, (3, 0), "try again later")
}

fn no_space() -> Reply {
    Reply::transient(452, (3, 1), "no space left, try again later")
}

pub(crate) fn refusal(error: &StoreError) -> Reply {
    tracing::warn!("a mail could not be stored: {error}");
    match error {
        StoreError::Full(_) => no_space(),
        StoreError::Busy(_) => Reply::transient(452, (3, 2), "too busy, try again later"),
        StoreError::Conflict(_)
        | StoreError::Unavailable(_)
        | StoreError::Schema { .. }
        | StoreError::Column { .. }
        | StoreError::Body { .. }
        | StoreError::Unsupported(_)
        | StoreError::Statement { .. } => later(),
    }
}
