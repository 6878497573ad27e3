//! Hold, release, purge, restore, on both databases.

use std::collections::BTreeSet;

use directory::{Directory, NewOrganisation, NewPerson, ProtectionCache};
use mailbox::{Delivery, Embedded, FlagChange, FolderRole, Item, deliver_ops};
use model::{
    CampaignId, ChangeId, CopyId, EventKind, Facts, ListEntryId, MessageId, Place, QuarantineItemId, QuarantineReason,
    ReleaseStatus, Role, RuleSetId, UrlFact, UrlSource, VerdictClass,
};
use quarantine::{Actor, Filter, HeldBy, JobState, PurgeParams, Quarantine, QuarantineError, Selection, Step, Worker};
use serde_json::json;
use store::{NewEvent, Op, Store, Submission, Topic, values};
use testkit::{TestStore, on_both};
use tokio_util::sync::CancellationToken;
use verdict::{Feed, FeedEntry, FeedKind, ListAction, ListEntry, ListKind, RuleSetSource, Term, TermKind};

const HOST: &str = "t.contoso.localhost";
const CAMPAIGN: CampaignId = CampaignId(4_711);
const CHANGE: ChangeId = ChangeId(815);

struct House {
    t: TestStore,
    directory: Directory,
    quarantine: Quarantine,
    mailbox: Embedded,
    worker: Worker,
}

/// One landed or held copy.
#[derive(Debug, Clone)]
struct Sent {
    copy_id: CopyId,
    person: i64,
    mailbox_id: model::MailboxId,
}

impl House {
    async fn build(t: TestStore, people: usize) -> House {
        let new = NewOrganisation { name: "Contoso".into(), domains: vec!["contoso.example".parse().unwrap()] };
        let directory = Directory::create(&t.store, new).await.unwrap();
        let people: Vec<NewPerson> = (0..people)
            .map(|n| NewPerson {
                address: format!("p{n:05}@contoso.example").parse().unwrap(),
                name: format!("Person {n}"),
                department: "Sales".into(),
                ..NewPerson::default()
            })
            .collect();
        for some in people.chunks(1_000) {
            directory.put_people(some).await.unwrap();
        }
        let protection = ProtectionCache::start(&directory).await.unwrap();
        let quarantine = Quarantine::new(directory.clone(), protection);
        let worker = Worker::new(quarantine.clone(), CancellationToken::new());
        House { directory, mailbox: Embedded::new(t.store.clone()), quarantine, worker, t }
    }

    fn store(&self) -> &Store {
        &self.t.store
    }

    /// One message with a link to `host` for each of the first `count` people, in their inboxes or held.
    async fn receive(&self, host: &str, count: usize, held: Option<QuarantineReason>, campaign: bool) -> Vec<Sent> {
        let rows = self.store().query("person.page", &values![self.directory.id(), 0_i64, "", "\u{10FFFF}", 20_000_i64]);
        let people: Vec<i64> = rows.await.unwrap().iter().take(count).map(|row| row.int("id").unwrap()).collect();
        let boxes = self.store().query("mailbox.of_persons", &values![&json!(people)]).await.unwrap();
        let mut sent = Vec::with_capacity(count);
        for some in boxes.chunks(100) {
            let rows: Vec<Sent> = some
                .iter()
                .map(|row| Sent {
                    copy_id: self.store().next_id(),
                    person: row.int("person_id").unwrap(),
                    mailbox_id: row.id("id").unwrap(),
                })
                .collect();
            let (house, facts, given) = (self.ops_context(campaign, held), facts_with(host), rows.clone());
            let body = bytes_of(host);
            let submission = Submission::with_body(body.into(), move |body| {
                given.iter().flat_map(|one| house.ops(one, &facts, body)).collect()
            });
            self.store().commit(submission).await.unwrap();
            sent.extend(rows);
        }
        sent
    }

    fn ops_context(&self, campaign: bool, held: Option<QuarantineReason>) -> Arrival {
        let store = self.store().clone();
        Arrival { store, organisation_id: self.directory.id(), campaign: campaign.then_some(CAMPAIGN), held }
    }

    /// Makes a rule set with this source the active one.
    async fn activate(&self, source: RuleSetSource) {
        let id: RuleSetId = self.store().next_id();
        let mut tx = self.store().begin().await.unwrap();
        tx.execute("rule_set.deactivate_for_test", &values![self.directory.id()]).await.unwrap();
        let source = RuleSetSource { id, ..source };
        let _ = (&mut tx, source);
        tx.commit().await.unwrap();
    }

    async fn job(&self, kind: &str, cause: ChangeId, params: serde_json::Value) -> quarantine::Job {
        let id: model::JobId = self.store().next_id();
        let row = values![id, self.directory.id(), kind, kind, cause, &params, "ada", self.store().now()];
        self.store().execute("job.insert", &row).await.unwrap();
        assert_eq!(self.worker.work_off().await.unwrap(), 1);
        self.quarantine.job(id).await.unwrap().unwrap()
    }
}
