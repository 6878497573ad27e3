//! An organisation with people, mailboxes and mail that is judged on arrival as the gateway does it.

use std::collections::{BTreeMap, BTreeSet};

use changes::{Actor, Changes};
use directory::{Directory, NewOrganisation, NewPerson, ProtectionCache};
use mailbox::{Delivery, Embedded, FlagChange, FolderRole, deliver_ops};
use model::{
    Address, CampaignId, CopyId, Disposition, EventKind, Facts, MailboxId, MessageId, PersonId, Place,
    QuarantineItemId, QuarantineReason, UrlFact, UrlSource,
};
use quarantine::{Quarantine, Worker};
use serde_json::json;
use store::{BodyRef, NewEvent, Op, Store, Submission, values};
use testkit::TestStore;
use tokio_util::sync::CancellationToken;
use verdict::RecipientContext;

/// The sender of all mail here.
pub const SENDER: &str = "news@contoso.example";
const DAY_MS: i64 = 86_400_000;

pub struct House {
    pub t: TestStore,
    pub directory: Directory,
    pub changes: Changes,
    pub quarantine: Quarantine,
    pub worker: Worker,
    pub mailbox: Embedded,
    people: Vec<(PersonId, MailboxId, String)>,
}

/// Mail for the first `count` people, one message each.
#[derive(Clone)]
pub struct Mail<'a> {
    pub campaign: Option<CampaignId>,
    pub subject: &'a str,
    pub host: &'a str,
    pub count: usize,
}

struct Arrival {
    store: Store,
    directory: Directory,
    facts: Facts,
    verdict: model::Verdict,
    subject: String,
    campaign: Option<CampaignId>,
    copies: Vec<(CopyId, PersonId, MailboxId, String, verdict::Decision)>,
}

pub fn admin() -> Actor {
    Actor { account_id: None, login: "ada".into() }
}

impl House {
    pub async fn build(t: TestStore, count: usize) -> House {
        let domain: model::Domain = "contoso.example".parse().unwrap();
        let new = NewOrganisation { name: "Contoso".into(), domains: vec![domain.clone()] };
        let directory = Directory::create(&t.store, new).await.unwrap();
        let mut tx = t.store.begin().await.unwrap();
        changes::first_version(&mut tx, directory.id(), &[domain], "setup").await.unwrap().unwrap();
        tx.commit().await.unwrap();
        let people: Vec<NewPerson> = (0..count)
            .map(|n| NewPerson {
                address: format!("p{n:04}@contoso.example").parse().unwrap(),
                name: format!("Person {n}"),
                department: if n % 2 == 0 { "Sales".into() } else { String::new() },
                city: "Bonn".into(),
                language: "de".into(),
                attributes: BTreeMap::new(),
            })
            .collect();
        directory.put_people(&people).await.unwrap();
        House::open(t, count).await
    }

    /// The same house after a restart.
    pub async fn open(t: TestStore, count: usize) -> House {
        let directory = Directory::open(&t.store).await.unwrap().expect("the organisation");
        let mut boxes = Vec::new();
        for n in 0..count {
            let address = Address::parse(&format!("p{n:04}@contoso.example")).unwrap();
            let recipient = directory.recipient(&address).await.unwrap().unwrap();
            boxes.push((recipient.person_id, recipient.mailbox_id, recipient.address));
        }
        let protection = ProtectionCache::start(&directory).await.unwrap();
        let quarantine = Quarantine::new(directory.clone(), protection);
        House {
            changes: Changes::new(&directory),
            worker: Worker::new(quarantine.clone(), CancellationToken::new()),
            quarantine,
            mailbox: Embedded::new(t.store.clone()),
            people: boxes,
            directory,
            t,
        }
    }

    pub fn store(&self) -> &Store {
        &self.t.store
    }

    pub async fn campaign(&self, name: &str) -> CampaignId {
        let id: CampaignId = self.store().next_id();
        let (none, now) = (None::<i64>, self.store().now());
        let row = values![
            id,
            self.directory.id(),
            name,
            name,
            "News",
            SENDER,
            "html",
            "<p>x</p>",
            none,
            "sent",
            "anonymous",
            true,
            none,
            now,
            now
        ];
        self.store().execute("campaign.insert", &row).await.unwrap();
        id
    }

    /// Mail arrives: judged by the rules in force, decided for each recipient, put where the decision says.
    pub async fn arrive(&self, mail: Mail<'_>) -> Vec<CopyId> {
        let protection = self.directory.protection().await.unwrap();
        let facts = facts_with(mail.host);
        let verdict = verdict::judge(&facts, &protection.rule_set, self.store().now());
        let mut copies = Vec::new();
        for (person_id, mailbox_id, address) in self.people.iter().take(mail.count) {
            let recipient = self.directory.recipient(&Address::parse(address).unwrap()).await.unwrap().unwrap();
            let groups = Some(recipient.department).filter(|d| !d.is_empty()).into_iter().collect();
            let context = RecipientContext { address: Address::parse(address).unwrap(), groups };
            let decision = verdict::decide(&verdict, &facts, &protection.policies, &context);
            copies.push((self.store().next_id::<CopyId>(), *person_id, *mailbox_id, address.clone(), decision));
        }
        let ids = copies.iter().map(|(id, ..)| *id).collect();
        let arrival = Arrival {
            store: self.store().clone(),
            directory: self.directory.clone(),
            facts,
            verdict,
            subject: mail.subject.to_owned(),
            campaign: mail.campaign,
            copies,
        };
        let submission = Submission::with_body(b"From: x\r\n\r\nx\r\n".to_vec().into(), move |body| arrival.ops(body));
        self.store().commit(submission).await.unwrap();
        ids
    }

    /// The owner reads a copy.
    pub async fn read(&self, copy_id: CopyId) {
        let (mailbox_id, item_id) = self.item(copy_id).await;
        let seen = FlagChange { seen: Some(true), ..FlagChange::default() };
        self.mailbox.set_flags(mailbox_id, item_id, &seen).await.unwrap();
    }

    async fn item(&self, copy_id: CopyId) -> (MailboxId, model::MailItemId) {
        for (_, mailbox_id, _) in &self.people {
            let row = self.store().query_one("mailbox.find_copy", &values![*mailbox_id, copy_id]).await.unwrap();
            if let Some(row) = row {
                return (*mailbox_id, row.id("id").unwrap());
            }
        }
        panic!("copy {copy_id} is in no mailbox");
    }

    /// The copies among `ids` at a place.
    pub async fn at(&self, ids: &[CopyId], place: Place) -> BTreeSet<CopyId> {
        let mut found = BTreeSet::new();
        for id in ids {
            let row = self.store().query_one("copy.by_id", &values![*id]).await.unwrap().unwrap();
            if row.text("place").unwrap() == place.as_str() {
                found.insert(*id);
            }
        }
        found
    }

    /// Whether a copy lies in somebody's mailbox.
    pub async fn is_in_mailbox(&self, copy_id: CopyId) -> bool {
        for (_, mailbox_id, _) in &self.people {
            let row = self.store().query_one("mailbox.find_copy", &values![*mailbox_id, copy_id]).await.unwrap();
            if row.is_some() {
                return true;
            }
        }
        false
    }

    pub async fn work(&self) -> usize {
        self.worker.work_off().await.unwrap()
    }
}

impl Arrival {
    fn ops(&self, body: &BodyRef) -> Vec<Op> {
        let mut ops = Vec::new();
        for (copy_id, person_id, mailbox_id, address, decision) in &self.copies {
            let message_id: MessageId = self.store.next_id();
            ops.extend(self.message(message_id, body));
            let (place, kind) = match decision.disposition {
                Disposition::Deliver => (Place::Inbox, EventKind::Accepted),
                Disposition::Junk => (Place::Junk, EventKind::Accepted),
                Disposition::Quarantine => (Place::Quarantine, EventKind::Held),
                Disposition::Reject | Disposition::Redirect { .. } | Disposition::Drop => {
                    (Place::NotReceived, EventKind::Dropped)
                }
            };
            let (of, now) = (self.directory.id(), self.store.now());
            let copy = values![
                *copy_id,
                of,
                message_id,
                message_id,
                self.campaign,
                *person_id,
                address,
                place.as_str(),
                "",
                kind.as_str(),
                now,
                now,
                now,
                decision.disposition.as_str(),
                &decision.policy_name,
                &json!(decision),
                now
            ];
            ops.push(Op::Insert("copy.insert", copy.to_vec()));
            let cause_id = self.verdict.signals.first().and_then(|s| s.change_id).map(|id| id.0);
            match place {
                Place::Quarantine => ops.push(self.item(*copy_id, message_id, address, decision, cause_id)),
                Place::Inbox | Place::Junk => ops.extend(deliver_ops(&Delivery {
                    item_id: self.store.next_id(),
                    mailbox_id: *mailbox_id,
                    role: if place == Place::Junk { FolderRole::Junk } else { FolderRole::Inbox },
                    copy_id: *copy_id,
                    message_id,
                    internal_at: now,
                    safety_tip: String::new(),
                })),
                _ => {}
            }
            let cause_id = cause_id.filter(|_| kind == EventKind::Held);
            let event = NewEvent { place: Some(place), cause_id, ..NewEvent::now(of, *copy_id, kind, "gateway", now) };
            ops.push(Op::Event(event));
        }
        ops
    }

    fn message(&self, message_id: MessageId, body: &BodyRef) -> Vec<Op> {
        let row = values![
            message_id,
            self.directory.id(),
            "inbound",
            body.pack_id,
            i64::try_from(body.offset).unwrap(),
            i64::try_from(body.bytes).unwrap(),
            &body.sha256,
            format!("<{message_id}@contoso.example>"),
            SENDER,
            SENDER,
            "News",
            &self.subject,
            self.subject.to_lowercase(),
            "127.0.0.1",
            "mx.example",
            self.store.now(),
            self.campaign,
            &json!(self.facts),
            &json!(self.verdict),
            self.verdict.class.as_str(),
            self.verdict.rule_set_id
        ];
        let mut ops = vec![Op::Insert("message.insert", row.to_vec())];
        for (term, value) in verdict::index_terms(&self.facts) {
            ops.push(Op::Each("message.insert_terms", values![term.as_str(), value, message_id].to_vec()));
        }
        ops
    }

    fn item(
        &self,
        copy_id: CopyId,
        message_id: MessageId,
        address: &str,
        decision: &verdict::Decision,
        cause_id: Option<i64>,
    ) -> Op {
        let now = self.store.now();
        let row = values![
            self.store.next_id::<QuarantineItemId>(),
            self.directory.id(),
            copy_id,
            message_id,
            self.campaign,
            address,
            SENDER,
            &self.subject,
            self.subject.to_lowercase(),
            100_i64,
            "arrival",
            decision.reason.unwrap_or(QuarantineReason::Phish).as_str(),
            &decision.policy_name,
            verdict::sentence(&self.verdict),
            i64::from(decision.permissions),
            "needs_review",
            None::<&str>,
            cause_id,
            now,
            now.plus_ms(30 * DAY_MS)
        ];
        Op::Insert("quarantine.insert", row.to_vec())
    }
}

fn facts_with(host: &str) -> Facts {
    let raw = format!("http://{host}:8080/c/1");
    let url = UrlFact {
        raw: raw.clone(),
        url: raw,
        host: host.to_owned(),
        port: Some(8080),
        domain: host.to_owned(),
        source: UrlSource::Href,
    };
    let mut facts = Facts { urls: vec![url], text_chars: 900, ..Facts::default() };
    facts.header.from = vec![model::MailboxFact { name: "News".into(), address: SENDER.into() }];
    facts.header.message_id = "<x@contoso.example>".into();
    facts.header.date_at = Some(facts.received_at);
    facts
}
