//! Reports that come back (DSN, ARF and what hosts send instead) as evidence of the copies they are about.
//!
//! A report is believed because of what it carries, never because of who it says it is from: the return path that only
//! its copy had, the signed header of the copy in the returned part, or the copy's Message-ID, which holds 128 random
//! bits and stands nowhere else. Everything else changes nothing and is kept as *unmatched*.
//!
//! A report counts once: `report_counted` has a row for each news of a copy, written with the event. What our own
//! gateway has seen of a copy outweighs what another host claims. Mail to a return path is kept and read, and lies in
//! no mailbox; a report inside ordinary mail (to the postmaster, to the sender's own address) is read and then treated
//! as any mail.

use bytes::{Bytes, BytesMut};
use directory::{CopyTokens, Directory, DirectoryError, ReturnTokens};
use message::{RecipientReport, Report, ReportAction, ReportConfidence, ReportKind, headers, parse_report};
use model::{Address, CampaignId, CopyId, EventKind, MessageId, Place, SqlText, Whereabouts};
use serde_json::json;
use store::{BodyRef, NewEvent, Op, Store, StoreError, Submission, Topic, values};

use crate::beside::Beside;
use crate::enrich::Mail;
use crate::submission::Outgoing;
use crate::writing::Writing;

const SOURCE: &str = "report";
/// Somebody else may count the same news between our look and our commit; looked at again at most so often.
const COMMIT_TRIES_MAX: usize = 3;

/// Reads reports for one organisation.
pub(crate) struct Reports {
    store: Store,
    directory: Directory,
    returns: ReturnTokens,
    copies: CopyTokens,
}

/// A copy that a report may be about.
#[derive(Debug, Clone)]
struct Known {
    id: CopyId,
    recipient: String,
    campaign_id: Option<CampaignId>,
    place: Place,
    /// Our own gateway took it in: what is known of it is first hand.
    is_seen: bool,
}

/// What a report was found to be about.
#[derive(Debug, Clone)]
enum Match {
    Copy { copy: Known, by: &'static str },
    None { problem: &'static str },
}

/// What a report changes, ready to be stored.
#[derive(Debug, Clone)]
pub(crate) struct News {
    copy: Option<Known>,
    matched_by: &'static str,
    outcome: &'static str,
    problem: &'static str,
    kind: &'static str,
    class: &'static str,
    confidence: &'static str,
    said: RecipientReport,
    reporter: String,
    /// What it means for the copy: the event, and under which key it counts once.
    change: Option<Change>,
}

#[derive(Debug, Clone)]
struct Change {
    event: EventKind,
    place: Option<Place>,
    key: String,
    /// Reason and kind on the suppression list.
    suppress: Option<(String, &'static str)>,
}

impl Reports {
    pub(crate) async fn new(directory: &Directory) -> Result<Self, DirectoryError> {
        let mac = directory.mac().await?;
        Ok(Reports {
            store: directory.store().clone(),
            directory: directory.clone(),
            returns: ReturnTokens::new(mac.clone()),
            copies: CopyTokens::new(mac),
        })
    }

    /// The copy of a return path of ours: `None` when the address is none, `Some(None)` when it claims to be one and is
    /// not valid (any more).
    pub(crate) fn return_path(&self, address: &Address) -> Option<Option<CopyId>> {
        let is_ours = ReturnTokens::is_claimed(address.local()) && self.directory.is_own_domain(address.domain());
        is_ours.then(|| self.returns.copy_id(address.local(), self.store.now()))
    }

    /// Takes a mail that is addressed to nothing here but return paths: kept, read, counted, together with what goes to
    /// others.
    ///
    /// # Errors
    /// The store's; nothing was kept then.
    pub(crate) async fn take(
        &self,
        hostname: &str,
        mail: &Mail,
        outgoing: Option<&Outgoing>,
    ) -> Result<MessageId, StoreError> {
        let message_id: MessageId = self.store.next_id();
        let paths: Vec<(Address, CopyId)> = self.paths(mail);
        let report = parse_report(&mail.body);
        for _ in 0..COMMIT_TRIES_MAX {
            let mut news = Vec::with_capacity(paths.len());
            for (_, copy_id) in &paths {
                let found = self.by_return_path(*copy_id).await?;
                news.push(self.news(mail, report.as_ref(), found).await?);
            }
            let letter = Letter { reports: self, hostname, mail, message_id, paths: &paths, news: &news };
            let writing = outgoing.map_or(Beside::Nothing, Beside::Outgoing).with(letter.writing());
            match self.store.commit(writing.submission()).await {
                Ok(()) => {
                    self.announce(&news);
                    return Ok(message_id);
                }
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Conflict("the same report came too often at once".into()))
    }

    /// Reads a report inside mail that goes on as mail, before it is stored as `message_id`. Done twice, it counts once.
    ///
    /// # Errors
    /// The store's; nothing was counted then.
    pub(crate) async fn note(&self, mail: &Mail, message_id: MessageId) -> Result<(), StoreError> {
        let paths = self.paths(mail);
        if paths.is_empty() && !looks_like_a_report(mail) {
            return Ok(());
        }
        let Some(report) = parse_report(&mail.body) else { return Ok(()) };
        for _ in 0..COMMIT_TRIES_MAX {
            let found = match paths.first() {
                Some((_, copy_id)) => self.by_return_path(*copy_id).await?,
                None => self.by_content(&report).await?,
            };
            let news = self.news(mail, Some(&report), found).await?;
            match self.store.commit(Submission::rows(self.ops(&news, mail, message_id))).await {
                Ok(()) => {
                    self.announce(&[news]);
                    return Ok(());
                }
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Conflict("the same report came too often at once".into()))
    }

    /// The valid return paths among the recipients, each copy once.
    fn paths(&self, mail: &Mail) -> Vec<(Address, CopyId)> {
        let mut paths: Vec<(Address, CopyId)> = Vec::new();
        for path in &mail.envelope.forward_paths {
            if let Some(Some(copy_id)) = self.return_path(path)
                && !paths.iter().any(|(_, known)| *known == copy_id)
            {
                paths.push((path.clone(), copy_id));
            }
        }
        paths
    }

    async fn by_return_path(&self, copy_id: CopyId) -> Result<Match, StoreError> {
        Ok(match self.known("report.copy", &values![self.directory.id(), copy_id]).await? {
            Some(copy) => Match::Copy { copy, by: "return_path" },
            None => Match::None { problem: "the copy of this return path is not kept any more" },
        })
    }

    /// By what the report carries, the strongest first.
    async fn by_content(&self, report: &Report) -> Result<Match, StoreError> {
        for path in &report.return_paths {
            let copy_id = Address::parse(path).ok().and_then(|path| self.return_path(&path)).flatten();
            if let Some(copy_id) = copy_id {
                return self.by_return_path(copy_id).await;
            }
        }
        if let Some(value) = report.returned_field(CopyTokens::HEADER) {
            // `<key id>.<campaign>.<copy>.<mac>`: the copy first, since the MAC covers its recipient.
            let claimed = value.trim().split('.').nth(2).and_then(|copy| copy.parse::<CopyId>().ok());
            if let Some(claimed) = claimed
                && let Some(copy) = self.known("report.copy", &values![self.directory.id(), claimed]).await?
                && self.copies.verify(&value, &copy.recipient).is_some_and(|own| own.copy_id == claimed)
            {
                return Ok(Match::Copy { copy, by: "copy_header" });
            }
            return Ok(Match::None { problem: "it names a copy with a signature that is not ours" });
        }
        if let Some(message_id) = report.returned_field("Message-ID") {
            let id = SqlText::indexed(&message_id);
            if let Some(copy) = self.known("report.copy_of_message_id", &values![&id, self.directory.id()]).await? {
                return Ok(Match::Copy { copy, by: "message_id" });
            }
            return Ok(Match::None { problem: "it is about a message that we did not send" });
        }
        Ok(Match::None { problem: "it carries nothing that names a copy of ours" })
    }

    async fn known(&self, statement: &'static str, of: &[store::Value]) -> Result<Option<Known>, StoreError> {
        let Some(row) = self.store.query_one(statement, of).await? else { return Ok(None) };
        let place = row.text("place")?;
        Ok(Some(Known {
            id: row.id("id")?,
            recipient: row.text("recipient")?.to_owned(),
            campaign_id: row.opt_id("campaign_id")?,
            place: Place::parse(place).unwrap_or(Place::Unknown),
            is_seen: row.opt_int("received_message_id")?.is_some(),
        }))
    }

    /// What a report means for what it was found to be about.
    async fn news(&self, mail: &Mail, report: Option<&Report>, found: Match) -> Result<News, StoreError> {
        let mut news = told(report, &found);
        let Some(copy) = &news.copy else { return Ok(news) };
        let Some(change) = report.and_then(|report| change(report, &news.said, copy, mail)) else { return Ok(news) };
        if let EventKind::Bounced | EventKind::Deferred = change.event
            && (copy.is_seen || !matches!(copy.place, Place::OnItsWay | Place::Accepted | Place::Unknown))
        {
            news.outcome = "outweighed";
            news.problem = "more is known of this copy than another host can say";
            return Ok(news);
        }
        if self.store.query_one("report.was_counted", &values![copy.id, &change.key]).await?.is_some() {
            news.outcome = "repeated";
            return Ok(news);
        }
        news.outcome = "counted";
        news.change = Some(change);
        Ok(news)
    }

    /// The rows of one piece of news.
    fn ops(&self, news: &News, mail: &Mail, message_id: MessageId) -> Vec<Op> {
        let id: i64 = self.store.next_id();
        let said = &news.said;
        let status = said.status.map(|status| status.to_string()).unwrap_or_default();
        let row = values![
            id,
            self.directory.id(),
            message_id,
            news.copy.as_ref().map(|copy| copy.id),
            news.copy.as_ref().and_then(|copy| copy.campaign_id),
            news.matched_by,
            news.outcome,
            news.problem,
            news.kind,
            news.class,
            news.confidence,
            SqlText::indexed(&said.final_recipient),
            status,
            SqlText::new(&said.diagnostic),
            SqlText::new(&news.reporter),
            mail.received_at,
        ];
        let mut ops = vec![Op::Insert("report.insert", row.to_vec())];
        if let (Some(copy), Some(change)) = (&news.copy, &news.change) {
            ops.push(Op::Insert("report.insert_counted", values![copy.id, &change.key, id].to_vec()));
            ops.push(Op::Event(self.event(news, copy, change, mail, message_id)));
            if let Some((reason, kind)) = &change.suppress {
                let (reason, organisation_id) = (SqlText::new(reason), self.directory.id());
                let row = values![organisation_id, &copy.recipient, &reason, mail.received_at, *kind, copy.id];
                ops.push(Op::Execute("report.suppress", row.to_vec()));
            }
        }
        ops
    }

    fn event(&self, news: &News, copy: &Known, change: &Change, mail: &Mail, message_id: MessageId) -> NewEvent {
        let mut event = NewEvent::now(self.directory.id(), copy.id, change.event, SOURCE, mail.received_at);
        event.place = change.place;
        let (said, text) = (&news.said, |words: &str| SqlText::new(words).as_str().to_owned());
        event.detail = json!({
            "reply": text(&said.diagnostic),
            "class": news.class,
            "status": said.status.map(|status| status.to_string()),
            "host": text(if said.remote_mta.is_empty() { &news.reporter } else { &said.remote_mta }),
            "reporter": text(&news.reporter),
            "kind": news.kind,
            "matched_by": news.matched_by,
            "confidence": news.confidence,
            "report_message_id": message_id,
        });
        if let Some(class) = message::BounceClass::parse(news.class) {
            event.detail["sentence"] = json!(class.sentence());
            event.detail["is_shared"] = json!(class.is_shared());
        }
        event
    }

    fn announce(&self, news: &[News]) {
        for copy in news.iter().filter(|news| news.change.is_some()).filter_map(|news| news.copy.as_ref()) {
            self.store.bus().announce(Topic::Ledger, copy.campaign_id.map_or(0, i64::from));
        }
    }
}

/// Most mail is none, and is not read again to find that out.
fn looks_like_a_report(mail: &Mail) -> bool {
    let begins = |name: &str, with: &str| {
        let value = headers::field(&mail.body, name).unwrap_or_default();
        value.get(..with.len()).is_some_and(|head| head.eq_ignore_ascii_case(with))
    };
    mail.envelope.reverse_path.address().is_none()
        || begins("Content-Type", "multipart/report")
        || headers::field(&mail.body, "X-Failed-Recipients").is_some()
}

/// What the report says, and of what, before it is weighed.
fn told(report: Option<&Report>, found: &Match) -> News {
    let nothing = RecipientReport {
        final_recipient: String::new(),
        original_recipient: String::new(),
        action: ReportAction::Relayed,
        status: None,
        diagnostic: String::new(),
        remote_mta: String::new(),
    };
    let (copy, matched_by, outcome, problem) = match found {
        Match::Copy { copy, by } => (Some(copy.clone()), *by, "noted", ""),
        Match::None { problem } => (None, "", "unmatched", *problem),
    };
    let recipient = copy.as_ref().map_or("", |copy| &copy.recipient);
    let said = report.and_then(|report| report.about(recipient).or(report.recipients.first())).cloned();
    let said = said.unwrap_or(nothing);
    let (kind, class) = match report.map(|report| report.kind) {
        None => ("other", ""),
        Some(ReportKind::Feedback(kind)) => (kind.as_str(), ""),
        Some(ReportKind::Delivery) => match said.action {
            ReportAction::Failed | ReportAction::Delayed => (said.action.as_str(), said.class().as_str()),
            ReportAction::Delivered | ReportAction::Relayed | ReportAction::Expanded => (said.action.as_str(), ""),
        },
    };
    News {
        copy,
        matched_by,
        outcome,
        problem,
        kind,
        class,
        confidence: report.map_or("", |report| report.confidence().as_str()),
        reporter: report.map(|report| report.reporter.clone()).unwrap_or_default(),
        said,
        change: None,
    }
}

/// What follows for the copy; `None` for what is only noted.
fn change(report: &Report, said: &RecipientReport, copy: &Known, mail: &Mail) -> Option<Change> {
    if let ReportKind::Feedback(kind) = report.kind {
        let suppress = Some((format!("complained: {}", kind.as_str().replace('_', " ")), "complained"));
        let change = Change { event: EventKind::Complained, place: None, key: "complained".into(), suppress };
        return kind.is_complaint().then_some(change);
    }
    match said.action {
        ReportAction::Failed => {
            let class = said.class();
            // What was read from prose is evidence, but nobody is left out because of it.
            let is_sure = class.suppresses() && report.confidence() > ReportConfidence::Low;
            let suppress = is_sure.then(|| (format!("bounced: {}", said.diagnostic), "bounced"));
            Some(Change { event: EventKind::Bounced, place: None, key: "failed".into(), suppress })
        }
        ReportAction::Delayed => {
            // Another host has it and goes on trying: it stays accepted. A second warning is news of its own.
            let place = (copy.place == Place::Accepted).then_some(Place::Accepted);
            let id = headers::field(&mail.body, "Message-ID").unwrap_or_default();
            let key = format!("delayed {}", SqlText::indexed(&id).as_str());
            Some(Change { event: EventKind::Deferred, place, key, suppress: None })
        }
        ReportAction::Delivered | ReportAction::Relayed | ReportAction::Expanded => None,
    }
}

/// Mail to return paths, about to be stored: the message, one copy for each path (so that the trace has it), the news.
struct Letter<'a> {
    reports: &'a Reports,
    hostname: &'a str,
    mail: &'a Mail,
    message_id: MessageId,
    paths: &'a [(Address, CopyId)],
    news: &'a [News],
}

impl Letter<'_> {
    fn writing(&self) -> Writing {
        let message = self.message();
        let mut rows = Vec::new();
        for ((path, _), news) in self.paths.iter().zip(self.news) {
            rows.extend(self.copy(path, news));
            rows.extend(self.reports.ops(news, self.mail, self.message_id));
        }
        Writing::with_body(self.body(), move |body| {
            std::iter::once(message(body)).chain(rows.iter().cloned()).collect()
        })
    }

    fn body(&self) -> Bytes {
        let Mail { envelope, body, received_at } = self.mail;
        let id = self.message_id.to_string();
        let mut head = format!("Return-Path: <{}>\r\n", envelope.reverse_path);
        head += &headers::received(&headers::Received {
            envelope,
            by: self.hostname,
            id: &id,
            at: *received_at,
            recipient: None,
        });
        let rest = headers::remove_fields(body, &["Return-Path"]);
        let rest = headers::below_our_fields(&rest);
        let mut whole = BytesMut::with_capacity(head.len() + rest.len());
        whole.extend_from_slice(head.as_bytes());
        whole.extend_from_slice(&rest);
        whole.freeze()
    }

    fn message(&self) -> impl Fn(&BodyRef) -> Op + Send + Sync + 'static {
        let Mail { envelope, body, received_at } = self.mail;
        let field = |name: &str| headers::field(body, name).unwrap_or_default();
        let subject = SqlText::new(&field("Subject"));
        let before = values![self.message_id, self.reports.directory.id(), "inbound"];
        let after = values![
            SqlText::indexed(&field("Message-ID")),
            SqlText::new(&envelope.reverse_path.to_string()),
            SqlText::indexed(&field("From")),
            "",
            &subject,
            subject.to_lower(),
            envelope.client.ip.to_string(),
            SqlText::new(&envelope.client.helo),
            *received_at,
            None::<i64>,
            None::<&str>,
            None::<&str>,
            None::<&str>,
            None::<i64>,
        ];
        move |body: &BodyRef| {
            let signed = |unsigned: u64| i64::try_from(unsigned).unwrap_or(i64::MAX);
            let place = values![body.pack_id, signed(body.offset), signed(body.bytes), &body.sha256];
            Op::Insert("message.insert", before.iter().chain(&place).chain(&after).cloned().collect())
        }
    }

    /// The report's own copy: accepted, read here, in no mailbox.
    fn copy(&self, path: &Address, news: &News) -> Vec<Op> {
        let (store, organisation_id) = (&self.reports.store, self.reports.directory.id());
        let id: CopyId = store.next_id();
        let (born, at) = (Whereabouts::born(EventKind::Accepted, None), self.mail.received_at);
        let copy = values![
            id,
            organisation_id,
            self.message_id,
            self.message_id,
            None::<i64>,
            None::<i64>,
            path.key(),
            born.place.as_str(),
            "",
            born.last_event.as_str(),
            at,
            at,
            at,
            None::<&str>,
            None::<&str>,
            None::<&str>,
            at,
        ];
        let mut event = NewEvent::now(organisation_id, id, EventKind::Accepted, "gateway", at);
        event.detail = json!({
            "received_message_id": self.message_id,
            "client_ip": self.mail.envelope.client.ip.to_string(),
            "explanation": "read as a report about a copy of ours; it lies in no mailbox",
            "about_copy_id": news.copy.as_ref().map(|copy| copy.id),
            "outcome": news.outcome,
        });
        vec![Op::Birth { copy: copy.to_vec(), event }]
    }
}
