//! Hold, release, purge, restore, on both databases.

use std::collections::{BTreeMap, BTreeSet};

use directory::{Directory, NewOrganisation, NewPerson, ProtectionCache};
use mailbox::{Delivery, Embedded, FlagChange, FolderRole, Item, deliver_ops};
use model::{
    CampaignId, ChangeId, CopyId, EventKind, Facts, Place, QuarantineItemId, QuarantineReason, ReleaseStatus, Role,
    RuleSetId, UrlFact, UrlSource, VerdictClass,
};
use quarantine::{Actor, Filter, HeldBy, JobState, PurgeParams, Quarantine, QuarantineError, Selection, Step, Worker};
use serde_json::json;
use store::{Op, Store, Submission, Topic, values};
use testkit::rows::{NewCopy, NewMessage};
use testkit::{TestStore, on_both};
use tokio_util::sync::CancellationToken;
use verdict::{Feed, FeedEntry, FeedKind, RuleSetSource, Term, TermKind};

const HOST: &str = "t.contoso.localhost";
const CAMPAIGN: CampaignId = CampaignId(4_711);
const CHANGE: ChangeId = ChangeId(815);

struct House {
    t: TestStore,
    directory: Directory,
    quarantine: Quarantine,
    protection: ProtectionCache,
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
                city: "Bonn".into(),
                language: "de".into(),
                attributes: BTreeMap::new(),
            })
            .collect();
        for some in people.chunks(1_000) {
            directory.put_people(some).await.unwrap();
        }
        for policy in verdict::Policies::standard_for_all().policies {
            let row = values![
                policy.id,
                directory.id(),
                &policy.name,
                i64::from(policy.priority),
                &json!(policy),
                t.store.now()
            ];
            t.store.execute("policy.insert", &row).await.unwrap();
        }
        let protection = ProtectionCache::start(&directory).await.unwrap();
        let quarantine = Quarantine::new(directory.clone(), protection.clone());
        let worker = Worker::new(quarantine.clone(), CancellationToken::new());
        House { directory, mailbox: Embedded::new(t.store.clone()), protection, quarantine, worker, t }
    }

    fn store(&self) -> &Store {
        &self.t.store
    }

    /// One message with a link to `host` for each of the first `count` people, in their inboxes or held.
    async fn receive(&self, host: &str, count: usize, held: Option<QuarantineReason>, campaign: bool) -> Vec<Sent> {
        let page = values![self.directory.id(), "", "\u{10FFFF}", "", "", "", 0_i64, 20_000_i64];
        let rows = self.store().query("person.page", &page).await.unwrap();
        let people: Vec<i64> = rows.iter().take(count).map(|row| row.int("id").unwrap()).collect();
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

    /// Makes a rule set with these feeds the active one.
    async fn activate(&self, feeds: Vec<Feed>) {
        let id: RuleSetId = self.store().next_id();
        let source = json!(RuleSetSource { id, feeds, ..RuleSetSource::default() });
        let (of, none, now) = (self.directory.id(), None::<i64>, self.store().now());
        let mut tx = self.store().begin().await.unwrap();
        tx.execute("rule_set.deactivate", &values![of]).await.unwrap();
        let row = values![id, of, none, format!("hash-{id}"), &source, "ada", "test", none, CHANGE, 1_i64, now];
        tx.execute("rule_set.insert", &row).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn job(&self, kind: &str, cause: ChangeId, params: serde_json::Value) -> quarantine::Job {
        let id: model::JobId = self.store().next_id();
        let row = values![id, self.directory.id(), kind, kind, cause, &params, "ada", self.store().now()];
        self.store().execute("job.insert", &row).await.unwrap();
        assert_eq!(self.worker.work_off().await.unwrap(), 1);
        self.quarantine.job(id).await.unwrap().unwrap()
    }

    async fn purge(&self) -> quarantine::Job {
        let terms: BTreeSet<Term> = [(TermKind::UrlHost, HOST.to_owned())].into();
        self.job("purge", CHANGE, json!(PurgeParams { terms: Some(terms), ..PurgeParams::default() })).await
    }

    async fn restore(&self) -> quarantine::Job {
        self.job("restore", CHANGE, json!({})).await
    }

    /// How many copies there are by place and last event.
    async fn places(&self, sent: &[Sent]) -> BTreeMap<(String, String), usize> {
        let mut places = BTreeMap::new();
        for one in sent {
            let row = self.store().query_one("copy.by_id", &values![one.copy_id]).await.unwrap().unwrap();
            let key = (row.text("place").unwrap().to_owned(), row.text("last_event").unwrap().to_owned());
            *places.entry(key).or_default() += 1;
        }
        places
    }

    async fn expect_places(&self, sent: &[Sent], expect: &[(&str, &str, usize)]) {
        let expect = expect.iter().map(|(p, e, n)| (((*p).to_owned(), (*e).to_owned()), *n)).collect();
        assert_eq!(self.places(sent).await, expect, "{}", self.t.name);
    }

    async fn quarantine_refresh(&self) {
        self.protection.refresh().await.unwrap();
    }

    /// The item of a copy.
    async fn item_of(&self, one: &Sent) -> Item {
        let key = values![one.mailbox_id, one.copy_id];
        let row = self.store().query_one("mailbox.find_copy", &key).await.unwrap().unwrap();
        self.mailbox.item(one.mailbox_id, row.id("id").unwrap()).await.unwrap()
    }

    /// The only item of a mailbox.
    async fn only_item(&self, one: &Sent) -> Item {
        let mut found = Vec::new();
        for folder in self.mailbox.folders(one.mailbox_id).await.unwrap() {
            for item in self.mailbox.items(one.mailbox_id, folder.id, None, 10).await.unwrap() {
                found.push(self.mailbox.item(one.mailbox_id, item.id).await.unwrap());
            }
        }
        assert_eq!(found.len(), 1, "{}", self.t.name);
        found.remove(0)
    }

    /// Columns equal the fold of the events, and nothing landed twice.
    async fn check_ledger(&self, sent: &[Sent]) {
        let mut tx = self.store().begin().await.unwrap();
        for one in sent {
            let fold = tx.fold_of(one.copy_id).await.unwrap();
            assert_eq!(tx.whereabouts(one.copy_id).await.unwrap(), fold, "{}", self.t.name);
        }
        drop(tx);
        let twice = self.store().query_one("copy.sent_twice", &values![self.directory.id()]).await.unwrap().unwrap();
        assert_eq!(twice.int("copy_count").unwrap(), 0, "{}", self.t.name);
    }
}

/// What the rows of an arrival need.
struct Arrival {
    store: Store,
    organisation_id: model::OrganisationId,
    campaign: Option<CampaignId>,
    held: Option<QuarantineReason>,
}

impl Arrival {
    fn ops(&self, one: &Sent, facts: &Facts, body: &store::BodyRef) -> Vec<Op> {
        let (of, now, none_text) = (self.organisation_id, self.store.now(), None::<&str>);
        let message = NewMessage {
            campaign_id: self.campaign,
            from: "news@x.example".into(),
            subject: "Summer Party".into(),
            facts: Some(json!(facts).to_string()),
            ..NewMessage::new(&self.store, of)
        };
        let message_id = message.id;
        let place = if self.held.is_some() { Place::Quarantine } else { Place::Inbox };
        let kind = if self.held.is_some() { EventKind::Held } else { EventKind::Accepted };
        let recipient = format!("p{}@contoso.example", one.person);
        let person_id = Some(model::PersonId(one.person));
        let copy = NewCopy { kind, place, ..NewCopy::accepted(one.copy_id, &message, person_id, &recipient) };
        let mut ops = vec![message.op(body)];
        ops.extend(copy.ops());
        for (term, value) in verdict::index_terms(facts) {
            ops.push(Op::Each("message.insert_terms", values![term.as_str(), value, message_id].to_vec()));
        }
        match self.held {
            Some(reason) => {
                let id: QuarantineItemId = self.store.next_id();
                let bits = i64::from(verdict::QuarantineTag::FullAccess.permissions_for(reason));
                let item = values![
                    id,
                    of,
                    one.copy_id,
                    message_id,
                    self.campaign,
                    &recipient,
                    "news@x.example",
                    "Summer Party",
                    "summer party",
                    512_i64,
                    "arrival",
                    reason.as_str(),
                    "Standard",
                    "because",
                    bits,
                    "needs_review",
                    none_text,
                    CHANGE,
                    now,
                    now.plus_ms(30 * 86_400_000)
                ];
                ops.push(Op::Insert("quarantine.insert", item.to_vec()));
            }
            None => ops.extend(deliver_ops(&Delivery {
                item_id: self.store.next_id(),
                mailbox_id: one.mailbox_id,
                role: FolderRole::Inbox,
                copy_id: one.copy_id,
                message_id,
                internal_at: now,
                safety_tip: String::new(),
            })),
        }
        ops
    }
}

fn facts_with(host: &str) -> Facts {
    let url = format!("http://{host}/c/1");
    let url = UrlFact {
        raw: url.clone(),
        url,
        host: host.to_owned(),
        port: None,
        domain: "contoso.localhost".into(),
        source: UrlSource::Href,
    };
    let mut facts = Facts { urls: vec![url], ..Facts::default() };
    facts.header.from = vec![model::MailboxFact { name: "News".into(), address: "news@x.example".into() }];
    facts
}

fn bytes_of(host: &str) -> String {
    format!(
        "From: News <news@x.example>\r\nTo: all@contoso.example\r\nSubject: Summer Party\r\nContent-Type: text/html\r\n\r\n\
         <p>Come <a href=\"http://{host}/c/1\">here</a><img src=\"http://{host}/o\"><script>x()</script></p>\r\n"
    )
}

fn feed(class: VerdictClass) -> Vec<Feed> {
    let entry = FeedEntry { change_id: Some(CHANGE), ..FeedEntry::new(HOST, class) };
    vec![Feed { name: "hosts".into(), kind: FeedKind::UrlHost, entries: vec![entry] }]
}

fn actor(login: &str, role: Role) -> Actor {
    Actor { login: login.into(), role }
}

fn everything() -> Selection {
    Selection::Campaign(CAMPAIGN)
}

#[tokio::test]
async fn communicators_request_and_administrators_release() {
    on_both(|t: TestStore| async move {
        let house = House::build(t, 4).await;
        let sent = house.receive(HOST, 4, Some(QuarantineReason::Phish), true).await;
        let (cora, adam) = (actor("cora", Role::Communicator), actor("adam", Role::Administrator));
        let q = &house.quarantine;

        assert!(matches!(q.release(&cora, &everything()).await, Err(QuarantineError::Forbidden(_))));
        let asked = q.request(&cora, &everything(), "").await.unwrap();
        assert_eq!((asked.marked_count, asked.refused_count), (4, 0));
        house.expect_places(&sent, &[("quarantine", "release_requested", 4)]).await;
        let again = q.request(&cora, &everything(), "").await.unwrap();
        assert_eq!(again.sentence(Step::Request), "all 4 were already requested; nothing changed");

        // One is denied; it stays, and can be released all the same.
        let list = q.list(&Filter::default(), None, 10).await.unwrap();
        assert_eq!((list.len(), list[0].requested_by.as_str()), (4, "cora"));
        let denied = q.deny(&adam, &Selection::Items(vec![list[0].id])).await.unwrap();
        assert_eq!(denied.marked_count, 1);
        house.expect_places(&sent, &[("quarantine", "release_requested", 3), ("quarantine", "denied", 1)]).await;
        let asked = q.request(&cora, &everything(), "").await.unwrap();
        assert_eq!((asked.unchanged_count, asked.refused_count), (3, 1), "what was denied is not asked for again");

        let effect = q.effect(&everything()).await.unwrap();
        assert_eq!((effect.count(), effect.arrival_count, effect.requested_count), (4, 4, 3));
        house.t.clock.set(house.store().now().plus_ms(60_000));
        let done = q.release(&adam, &everything()).await.unwrap();
        assert_eq!((done.released_count, done.restored_count, done.refused_count), (4, 0, 0));
        house.expect_places(&sent, &[("inbox", "released", 4)]).await;
        let item = house.only_item(&sent[0]).await;
        assert_eq!((item.folder_role, item.summary.seen), (FolderRole::Inbox, false));
        assert_eq!(item.summary.internal_at, house.store().now(), "it arrives now");
        let event = house.store().query("event.of_copy", &values![sent[0].copy_id]).await.unwrap().pop().unwrap();
        assert_eq!((event.text("kind").unwrap(), event.text("actor").unwrap()), ("released", "adam"));

        let again = q.release(&adam, &everything()).await.unwrap();
        assert_eq!((again.done_count(), again.unchanged_count), (0, 4));
        assert_eq!(again.sentence(Step::Free), "all 4 were already released; nothing changed");
        house.check_ledger(&sent).await;
    })
    .await;
}

#[tokio::test]
async fn what_is_dangerous_needs_an_analyst_and_a_fresh_verdict() {
    on_both(|t: TestStore| async move {
        let house = House::build(t, 2).await;
        house.activate(feed(VerdictClass::HighConfidencePhish)).await;
        house.quarantine_refresh().await;
        let sent = house.receive(HOST, 2, Some(QuarantineReason::HighConfidencePhish), true).await;
        let (adam, ann) = (actor("adam", Role::Administrator), actor("ann", Role::Analyst));
        for who in [&adam, &ann] {
            let done = house.quarantine.release(who, &everything()).await.unwrap();
            assert_eq!((done.done_count(), done.refused_count), (0, 2), "{}", who.login);
        }
        house.expect_places(&sent, &[("quarantine", "held", 2)]).await;
        house.activate(Vec::new()).await;
        house.quarantine_refresh().await;
        assert_eq!(house.quarantine.release(&adam, &everything()).await.unwrap().refused_count, 2);
        assert_eq!(house.quarantine.release(&ann, &everything()).await.unwrap().released_count, 2);
        house.expect_places(&sent, &[("inbox", "released", 2)]).await;
    })
    .await;
}

#[tokio::test]
async fn a_mass_action_over_the_limit_needs_a_second_person() {
    on_both(|t: TestStore| async move {
        let house = House::build(t, 3).await;
        let sent = house.receive(HOST, 3, Some(QuarantineReason::Spam), true).await;
        let mut settings = house.directory.settings().await.unwrap();
        settings.limits.mass_action_max = 2;
        house.directory.save_settings(&settings).await.unwrap();
        let refused = house.quarantine.release(&actor("adam", Role::Administrator), &everything()).await.unwrap_err();
        assert!(matches!(refused, QuarantineError::NeedsSecondPerson { count: 3, limit: 2 }));
        assert!(refused.to_string().contains("ask for their release first"), "{refused}");
        house.expect_places(&sent, &[("quarantine", "held", 3)]).await;

        // Whoever asked is not a second person. Somebody else is, also for more copies than the limit.
        let (adam, cora) = (actor("adam", Role::Administrator), actor("cora", Role::Communicator));
        assert_eq!(house.quarantine.request(&adam, &everything(), "").await.unwrap().marked_count, 3);
        let refused = house.quarantine.release(&adam, &everything()).await.unwrap_err();
        assert!(matches!(refused, QuarantineError::NeedsSecondPerson { count: 3, .. }));
        let other = actor("eve", Role::Administrator);
        let few = house.quarantine.release(&other, &everything()).await.unwrap();
        assert_eq!(few.released_count, 3, "adam asked, eve released");
        house.expect_places(&sent, &[("inbox", "released", 3)]).await;

        let more = house.receive(HOST, 3, Some(QuarantineReason::Spam), true).await;
        let asked = house.quarantine.request(&cora, &everything(), "everybody waits for it").await.unwrap();
        assert_eq!(asked.marked_count, 3, "asking moves nothing and has no limit");
        let event = house.store().query("event.of_copy", &values![more[0].copy_id]).await.unwrap().pop().unwrap();
        let detail: serde_json::Value = event.json("detail").unwrap();
        assert_eq!(
            (event.text("kind").unwrap(), detail["reason"].as_str()),
            ("release_requested", Some("everybody waits for it"))
        );
        assert_eq!(house.quarantine.release(&adam, &everything()).await.unwrap().released_count, 3);
        house.expect_places(&more, &[("inbox", "released", 3)]).await;
        house.check_ledger(&more).await;
    })
    .await;
}

#[tokio::test]
async fn purge_and_restore_keep_what_owners_did() {
    on_both(|t: TestStore| async move {
        let house = House::build(t, 20).await;
        let sent = house.receive(HOST, 20, None, true).await;
        let other = house.receive("www.fabrikam.example", 3, None, false).await;
        let arrived_at = house.store().now();
        // One files, reads, flags and tags it; one moves it to Trash; one deletes it for good.
        let (kept, trashed, deleted) = (&sent[0], &sent[1], &sent[2]);
        let before = house.item_of(kept).await;
        let folder = house.mailbox.create_folder(kept.mailbox_id, "Projects").await.unwrap();
        house.mailbox.move_item(kept.mailbox_id, before.summary.id, folder, "p").await.unwrap();
        let flags = FlagChange {
            seen: Some(true),
            flagged: Some(true),
            answered: Some(true),
            keywords: Some(vec!["later".into(), "$Label1".into()]),
        };
        house.mailbox.set_flags(kept.mailbox_id, before.summary.id, &flags).await.unwrap();
        let before = house.item_of(kept).await;
        for (one, times) in [(trashed, 1), (deleted, 2)] {
            let id = house.item_of(one).await.summary.id;
            for _ in 0..times {
                house.mailbox.delete_item(one.mailbox_id, id, "p").await.unwrap();
            }
        }

        house.t.clock.set(house.store().now().plus_ms(3_600_000));
        house.activate(feed(VerdictClass::Phish)).await;
        let job = house.purge().await;
        assert_eq!((job.state, job.done_count, job.failed_count, job.total_count), (JobState::Done, 19, 0, 19));
        assert_eq!(job.result, "19 copies pulled back into quarantine");
        house.expect_places(&sent, &[("quarantine", "purged", 19), ("deleted", "deleted_by_owner", 1)]).await;
        house.expect_places(&other, &[("inbox", "accepted", 3)]).await;
        let items =
            house.quarantine.list(&Filter { held_by: Some(HeldBy::Purge), ..Filter::default() }, None, 50).await;
        let items = items.unwrap();
        assert!(items.iter().all(|i| i.cause_id == Some(CHANGE.0) && i.reason == QuarantineReason::Phish));
        assert!(items[0].explanation.contains(HOST), "{}", items[0].explanation);
        let event = house.store().query("event.of_copy", &values![kept.copy_id]).await.unwrap().pop().unwrap();
        assert_eq!((event.text("kind").unwrap(), event.int("cause_id").unwrap()), ("purged", CHANGE.0));

        // Again: nothing is left to take. Meanwhile the owner deletes the empty folder.
        assert_eq!(house.purge().await.result, "0 copies pulled back into quarantine");
        house.mailbox.delete_folder(kept.mailbox_id, folder).await.unwrap();

        house.activate(Vec::new()).await;
        let job = house.restore().await;
        assert_eq!((job.state, job.done_count, job.failed_count, job.total_count), (JobState::Done, 19, 0, 19));
        let after = house.item_of(kept).await;
        assert_eq!((after.folder.as_str(), after.folder_role), ("Projects", FolderRole::Own));
        let s = &after.summary;
        assert_eq!((s.seen, s.flagged, s.answered, s.internal_at), (true, true, true, arrived_at));
        assert_eq!(s.keywords, before.summary.keywords);
        assert_eq!(s.keywords, ["$Label1", "later"]);
        assert_eq!(house.item_of(trashed).await.folder, "Trash");
        let restored = [("inbox", "restored", 17), ("other_folder", "restored", 2), ("deleted", "deleted_by_owner", 1)];
        house.expect_places(&sent, &restored).await;

        assert_eq!(house.restore().await.result, "0 copies put back where they came from");
        let again = house.quarantine.release(&actor("adam", Role::Administrator), &Selection::Cause(CHANGE.0)).await;
        assert_eq!(again.unwrap().sentence(Step::Free), "all 19 were already released; nothing changed");
        house.expect_places(&sent, &restored).await;
        house.check_ledger(&sent).await;

        // What came back can be pulled back again, and its uid in the inbox is a new one.
        let uid = house.item_of(&sent[3]).await.summary.uid;
        assert!(uid > 1, "{uid}");
        house.activate(feed(VerdictClass::Phish)).await;
        assert_eq!(house.purge().await.result, "19 copies pulled back into quarantine");
    })
    .await;
}

#[tokio::test]
async fn spam_goes_to_junk_unread_only_and_comes_back() {
    on_both(|t: TestStore| async move {
        let house = House::build(t, 3).await;
        let sent = house.receive(HOST, 3, None, false).await;
        let read = house.item_of(&sent[0]).await.summary.id;
        let seen = FlagChange { seen: Some(true), ..FlagChange::default() };
        house.mailbox.set_flags(sent[0].mailbox_id, read, &seen).await.unwrap();
        house.activate(feed(VerdictClass::Spam)).await;
        let job = house.purge().await;
        assert_eq!(
            job.result,
            "0 copies pulled back into quarantine, 2 copies moved to Junk, 1 copy left where they were"
        );
        house.expect_places(&sent, &[("junk", "purged", 2), ("inbox", "accepted", 1)]).await;
        house.activate(Vec::new()).await;
        let job = house.restore().await;
        assert_eq!(job.result, "0 copies put back where they came from, 2 copies put back from Junk");
        house.expect_places(&sent, &[("inbox", "redelivered", 2), ("inbox", "accepted", 1)]).await;
        assert_eq!(house.item_of(&sent[1]).await.folder_role, FolderRole::Inbox);
        house.check_ledger(&sent).await;
    })
    .await;
}

#[tokio::test]
async fn what_is_too_old_stays() {
    on_both(|t: TestStore| async move {
        let house = House::build(t, 2).await;
        let sent = house.receive(HOST, 2, None, false).await;
        house.t.clock.set(house.store().now().plus_ms(48 * 3_600_000 + 1));
        house.activate(feed(VerdictClass::Phish)).await;
        assert_eq!(house.purge().await.total_count, 0);
        house.expect_places(&sent, &[("inbox", "accepted", 2)]).await;
        // Without terms, and with a wider window, all of the window is judged.
        let params = json!(PurgeParams { window_ms: Some(72 * 3_600_000), ..PurgeParams::default() });
        assert_eq!(house.job("purge", CHANGE, params).await.done_count, 2);
        house.expect_places(&sent, &[("quarantine", "purged", 2)]).await;
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_stops_or_dies_is_followed_by_another() {
    on_both(|t: TestStore| async move {
        let house = House::build(t, 700).await;
        let sent = house.receive(HOST, 700, None, true).await;
        house.activate(feed(VerdictClass::Phish)).await;
        let id: model::JobId = house.store().next_id();
        let row = values![id, house.directory.id(), "purge", "purge", CHANGE, "{}", "ada", house.store().now()];
        house.store().execute("job.insert", &row).await.unwrap();

        // One dies right after taking the job: its lease runs out before anybody else works on it.
        let now = house.store().now();
        let mut tx = house.store().begin().await.unwrap();
        let claim = values![now.plus_ms(15_000), now, house.directory.id()];
        assert_eq!(tx.query("job.claim", &claim).await.unwrap().len(), 1);
        tx.commit().await.unwrap();
        assert_eq!(house.worker.work_off().await.unwrap(), 0, "somebody holds it");
        house.t.clock.set(now.plus_ms(15_001));

        // One is told to stop after its first batch and gives the job back.
        let cancel = CancellationToken::new();
        let mut notices = house.store().bus().subscribe();
        let first = Worker::new(house.quarantine.clone(), cancel.clone());
        let stopper = async {
            while notices.recv().await.unwrap().topic != Topic::Ledger {}
            cancel.cancel();
        };
        let (done, ()) = tokio::join!(first.work_off(), stopper);
        assert_eq!(done.unwrap(), 1);
        let half = house.quarantine.job(id).await.unwrap().unwrap();

        // Another goes on where it stood.
        house.worker.work_off().await.unwrap();
        let job = house.quarantine.job(id).await.unwrap().unwrap();
        assert_eq!((job.state, job.done_count, job.failed_count, job.total_count), (JobState::Done, 700, 0, 700));
        assert!(half.done_count > 0, "the first batch was kept: {half:?}");
        assert_eq!(job.result, "700 copies pulled back into quarantine");
        house.expect_places(&sent, &[("quarantine", "purged", 700)]).await;
        house.check_ledger(&sent).await;
    })
    .await;
}

#[tokio::test]
async fn a_restore_waits_for_the_purge_of_its_change() {
    on_both(|t: TestStore| async move {
        let house = House::build(t, 1).await;
        let insert = async |kind: &str, cause: i64| {
            let id: model::JobId = house.store().next_id();
            let row = values![id, house.directory.id(), kind, kind, cause, "{}", "ada", house.store().now()];
            house.store().execute("job.insert", &row).await.unwrap();
            id
        };
        let claim = async || {
            let now = house.store().now();
            let mut tx = house.store().begin().await.unwrap();
            let row =
                tx.query_one("job.claim", &values![now.plus_ms(15_000), now, house.directory.id()]).await.unwrap();
            tx.commit().await.unwrap();
            row.map(|row| row.id::<model::JobId>("id").unwrap())
        };
        let purge = insert("purge", CHANGE.0).await;
        assert_eq!(claim().await, Some(purge));
        let restore = insert("restore", CHANGE.0).await;
        assert_eq!(claim().await, None, "the purge is running elsewhere");
        let other = insert("restore", CHANGE.0 + 1).await;
        assert_eq!(claim().await, Some(other), "another change waits for nobody");
        let finish = values!["done", "", house.store().now(), purge, house.store().now().plus_ms(15_000)];
        house.store().execute("job.finish", &finish).await.unwrap();
        assert_eq!(claim().await, Some(restore));
    })
    .await;
}

#[tokio::test]
async fn a_job_that_cannot_be_read_fails_once() {
    on_both(|t: TestStore| async move {
        let house = House::build(t, 1).await;
        for params in ["{\"terms\": 7}", "{\"progress\": 7}"] {
            let id: model::JobId = house.store().next_id();
            let row = values![id, house.directory.id(), "purge", "purge", CHANGE, params, "ada", house.store().now()];
            house.store().execute("job.insert", &row).await.unwrap();
            let _ = house.worker.work_off().await;
            let job = house.quarantine.job(id).await.unwrap().unwrap();
            assert_eq!(job.state, JobState::Failed, "{params}");
            assert!(job.result.contains("parameters cannot be read"), "{}", job.result);
        }
        assert_eq!(house.worker.work_off().await.unwrap(), 0);
    })
    .await;
}

#[tokio::test]
async fn two_jobs_of_one_cause_at_once_move_nothing_twice() {
    on_both(|t: TestStore| async move {
        let house = House::build(t, 300).await;
        let sent = house.receive(HOST, 300, None, true).await;
        house.activate(feed(VerdictClass::Phish)).await;
        for kind in ["purge", "purge", "restore", "restore"].chunks(2) {
            for kind in kind {
                let id: model::JobId = house.store().next_id();
                let row = values![id, house.directory.id(), *kind, *kind, CHANGE, "{}", "ada", house.store().now()];
                house.store().execute("job.insert", &row).await.unwrap();
            }
            let cancel = CancellationToken::new();
            let mut notices = house.store().bus().subscribe();
            let workers = [(); 2].map(|()| Worker::start(house.quarantine.clone(), cancel.clone()));
            loop {
                let jobs = house.quarantine.jobs(None, 10).await.unwrap();
                if jobs.iter().all(|job| matches!(job.state, JobState::Done | JobState::Failed)) {
                    break;
                }
                // A job that met the other's locks rests; the clock is ours.
                house.t.clock.set(house.store().now().plus_ms(1));
                let wait = tokio::time::timeout(std::time::Duration::from_millis(200), notices.recv());
                if wait.await.is_err() {
                    house.t.clock.set(house.store().now().plus_ms(2_000));
                }
            }
            cancel.cancel();
            for worker in workers {
                worker.await.unwrap();
            }
        }
        let jobs = house.quarantine.jobs(None, 10).await.unwrap();
        assert!(jobs.iter().all(|job| job.state == JobState::Done), "{jobs:?}");
        house.expect_places(&sent, &[("inbox", "restored", 300)]).await;
        let held = house.quarantine.list(&Filter::default(), None, 200).await.unwrap();
        assert_eq!(held.iter().map(|i| i.copy_id).collect::<BTreeSet<_>>().len(), held.len());
        house.check_ledger(&sent).await;
    })
    .await;
}

#[tokio::test]
async fn retention_ends() {
    on_both(|t: TestStore| async move {
        let house = House::build(t, 2).await;
        let sent = house.receive(HOST, 2, Some(QuarantineReason::Spam), false).await;
        house.worker.work_off().await.unwrap();
        house.expect_places(&sent, &[("quarantine", "held", 2)]).await;
        house.t.clock.set(house.store().now().plus_ms(30 * 86_400_000));
        house.worker.work_off().await.unwrap();
        house.expect_places(&sent, &[("not_received", "expired", 2)]).await;
        let done = house.quarantine.release(&actor("adam", Role::Administrator), &Selection::Cause(CHANGE.0)).await;
        assert_eq!((done.as_ref().unwrap().done_count(), done.unwrap().unchanged_count), (0, 2));
        house.check_ledger(&sent).await;
    })
    .await;
}

#[tokio::test]
async fn recipients_do_what_their_policy_grants() {
    on_both(|t: TestStore| async move {
        let house = House::build(t, 2).await;
        let spam = house.receive(HOST, 2, Some(QuarantineReason::Spam), false).await;
        let danger = house.receive(HOST, 1, Some(QuarantineReason::HighConfidencePhish), false).await;
        let (me, other) = (danger[0].person.into(), spam.iter().find(|s| s.person != danger[0].person).unwrap());
        let q = &house.quarantine;
        let own = q.own(me, None, 10).await.unwrap();
        assert_eq!(own.len(), 2);
        let (dangerous, harmless) = (
            own.iter().find(|i| i.reason.needs_analyst()).unwrap().id,
            own.iter().find(|i| !i.reason.needs_analyst()).unwrap().id,
        );
        assert!(matches!(q.own_release(me, "me", dangerous).await, Err(QuarantineError::NotGranted(_))));
        assert_eq!(q.own_request(me, "me", dangerous).await.unwrap().marked_count, 1);
        assert!(q.own_preview(me, harmless).await.unwrap().html.contains("[t.contoso.localhost]"));
        assert!(matches!(q.own_request(me, "me", harmless).await, Err(QuarantineError::NotGranted(_))));
        assert_eq!(q.own_release(me, "me", harmless).await.unwrap().released_count, 1);
        assert_eq!(q.own_release(me, "me", harmless).await.unwrap().unchanged_count, 1);
        let theirs = q.own(other.person.into(), None, 10).await.unwrap()[0].id;
        assert!(matches!(q.own_release(me, "me", theirs).await, Err(QuarantineError::NotFound)));
        assert!(matches!(q.own_preview(me, theirs).await, Err(QuarantineError::NotFound)));
    })
    .await;
}

#[tokio::test]
async fn lists_facets_details_and_previews() {
    on_both(|t: TestStore| async move {
        let house = House::build(t, 3).await;
        house.receive(HOST, 3, Some(QuarantineReason::Spam), true).await;
        house.t.clock.set(house.store().now().plus_ms(1_000));
        house.receive(HOST, 2, Some(QuarantineReason::Phish), false).await;
        let q = &house.quarantine;
        let count = async |filter: Filter| q.list(&filter, None, 100).await.unwrap().len();
        assert_eq!(count(Filter::default()).await, 5);
        assert_eq!(count(Filter { reason: Some(QuarantineReason::Spam), ..Filter::default() }).await, 3);
        assert_eq!(count(Filter { campaign_id: Some(CAMPAIGN), ..Filter::default() }).await, 3);
        assert_eq!(count(Filter { subject: Some("MER par".into()), ..Filter::default() }).await, 5);
        assert_eq!(count(Filter { subject: Some("mer%par".into()), ..Filter::default() }).await, 0);
        assert_eq!(count(Filter { sender: Some("News@x.example".into()), ..Filter::default() }).await, 5);
        assert_eq!(count(Filter { from_at: Some(house.store().now()), ..Filter::default() }).await, 2);
        assert_eq!(count(Filter { before_at: Some(house.store().now()), ..Filter::default() }).await, 3);
        assert_eq!(count(Filter { status: Some(ReleaseStatus::Released), ..Filter::default() }).await, 0);
        let first = q.list(&Filter::default(), None, 2).await.unwrap();
        let rest = q.list(&Filter::default(), Some(first[1].id), 10).await.unwrap();
        assert_eq!((first.len(), rest.len()), (2, 3));
        let facets = q.facets(&Filter { reason: Some(QuarantineReason::Phish), ..Filter::default() }).await.unwrap();
        assert_eq!((facets.total_count, facets.reason[&QuarantineReason::Spam]), (2, 3));
        assert_eq!(q.facets(&Filter::default()).await.unwrap().campaign, [(CAMPAIGN, 3)]);

        let id = first[0].id;
        let detail = q.detail(id).await.unwrap();
        assert_eq!((detail.item.permissions, detail.returns_to()), (39, "Inbox"));
        let preview = q.preview(id).await.unwrap();
        assert_eq!(preview.html.trim(), "<p>Come here [t.contoso.localhost]</p>");
        assert_eq!(preview.links, ["http://t.contoso.localhost/c/1"]);
        assert!(q.headers(id).await.unwrap().contains("Subject: Summer Party"));
        assert!(matches!(q.detail(QuarantineItemId(1)).await, Err(QuarantineError::NotFound)));
    })
    .await;
}
