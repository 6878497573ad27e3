//! Writing campaigns and moving them through their life. Every move is one transaction; a refusal changes nothing.

use std::collections::BTreeSet;

use directory::Directory;
use model::{AccountId, Address, CampaignId, CopyId, LinkId, PersonId, Timestamp};
use store::{StoreError, Topic, Tx, values};

use crate::draft::{Campaign, Draft, Tracking};
use crate::lint::{Lint, lint};
use crate::signing::Signing;
use crate::state::{Action, State};
use crate::template::{Fields, Rendered, Slots, Template};
use crate::{CampaignError, Problem};

/// Campaigns of one page, at most.
pub const PAGE_MAX: i64 = 200;
/// Addresses of one page of the suppression list, at most.
pub const SUPPRESSIONS_PAGE_MAX: i64 = 1_000;
/// People of one page of an audience, at most.
pub const AUDIENCE_PAGE_MAX: i64 = 1_000;
/// Names of further merge fields looked at.
const ATTRIBUTE_NAMES_MAX: i64 = 1_000;
/// People looked at together while an audience is checked.
const CHECK_PAGE: i64 = 500;
/// People named in the refusal of an audience; the others are counted.
const PEOPLE_NAMED_MAX: usize = 10;

/// The campaigns of one organisation. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Campaigns {
    directory: Directory,
}

/// How one person's message would look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// Subject, HTML and text as that person would get them; links lead where they were written to.
    pub rendered: Rendered,
    /// What the author should look at.
    pub lints: Vec<Lint>,
}

/// How far a campaign is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Its state.
    pub state: State,
    /// People who get it.
    pub total: i64,
    /// Copies made so far.
    pub enqueued: i64,
    /// People left out by the suppression list.
    pub suppressed: i64,
    /// Copies that a host took.
    pub accepted: i64,
    /// Copies given up.
    pub failed: i64,
    /// Copies that wait for a try, or for the campaign to go on.
    pub waiting: i64,
}

/// Somebody of a frozen audience.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AudienceMember {
    /// The order in which copies are made, from 1.
    pub position: i64,
    /// Who.
    pub person_id: PersonId,
    /// The address at the time of the start.
    pub address: String,
    /// `pending`, `enqueued`, `suppressed` or `cancelled`.
    pub state: String,
    /// The copy, once it is made.
    pub copy_id: Option<CopyId>,
}

/// An address that no campaign goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suppression {
    /// The address, lower case.
    pub address: String,
    /// Why: `unsubscribed`, what a host said, or what somebody wrote.
    pub reason: String,
    /// Since when.
    pub created_at: Timestamp,
    /// `asked`, `unsubscribed`, `bounced` or `complained`.
    pub kind: String,
}

impl Campaigns {
    /// The campaigns of the directory's organisation.
    pub fn new(directory: Directory) -> Self {
        Campaigns { directory }
    }

    /// Stores a new draft.
    ///
    /// # Errors
    /// [`CampaignError::Invalid`] with every problem: a header value with a line break, a bad address, broken MJML, an
    /// unknown merge field, with field and line.
    pub async fn create(&self, draft: &Draft, created_by: Option<AccountId>) -> Result<Campaign, CampaignError> {
        self.check(draft).await?;
        let store = self.directory.store();
        let id: CampaignId = store.next_id();
        let now = store.now();
        let row = values![
            id,
            self.directory.id(),
            &draft.name,
            &draft.subject,
            &draft.from_name,
            &draft.from_address,
            draft.content_type.as_str(),
            &draft.content,
            draft.list_id,
            State::Draft.as_str(),
            draft.tracking.as_str(),
            draft.click_tracking,
            created_by,
            now,
            now,
        ];
        store.execute("campaign.insert", &row).await?;
        store.bus().announce(Topic::Campaign, id);
        self.get(id).await
    }

    /// Changes a draft.
    ///
    /// # Errors
    /// As [`Campaigns::create`]; [`CampaignError::State`] once it was started.
    pub async fn update(&self, id: CampaignId, draft: &Draft) -> Result<Campaign, CampaignError> {
        self.get(id).await?.state.advance(Action::Edit)?;
        self.check(draft).await?;
        let store = self.directory.store();
        let row = values![
            self.directory.id(),
            id,
            &draft.name,
            &draft.subject,
            &draft.from_name,
            &draft.from_address,
            draft.content_type.as_str(),
            &draft.content,
            draft.list_id,
            draft.tracking.as_str(),
            draft.click_tracking,
            store.now(),
        ];
        if store.execute("campaign.update", &row).await? == 0 {
            return Err(CampaignError::Changed);
        }
        store.bus().announce(Topic::Campaign, id);
        self.get(id).await
    }

    /// One campaign.
    ///
    /// # Errors
    /// [`CampaignError::NotFound`].
    pub async fn get(&self, id: CampaignId) -> Result<Campaign, CampaignError> {
        let row = self.directory.store().query_one("campaign.by_id", &values![self.directory.id(), id]).await?;
        Campaign::from_row(&row.ok_or(CampaignError::NotFound(id))?)
    }

    /// A page of campaigns, newest first, without their content. `before`: the last id of the page before.
    pub async fn list(&self, before: Option<CampaignId>, limit: i64) -> Result<Vec<Campaign>, CampaignError> {
        let before = before.map_or(i64::MAX, |id| id.0);
        let values = values![self.directory.id(), before, limit.clamp(1, PAGE_MAX)];
        let rows = self.directory.store().query("campaign.page", &values).await?;
        rows.iter().map(Campaign::from_row).collect()
    }

    /// A new draft that says the same.
    pub async fn duplicate(&self, id: CampaignId, created_by: Option<AccountId>) -> Result<Campaign, CampaignError> {
        let mut draft = self.get(id).await?.draft;
        let kept: String = draft.name.chars().take(crate::draft::NAME_CHARS_MAX - 7).collect();
        draft.name = format!("{kept} (copy)");
        self.create(&draft, created_by).await
    }

    /// How `draft` would look for a person, or for nobody in particular, with what the author should look at.
    ///
    /// # Errors
    /// As [`Campaigns::create`]; a person without a value for a field without default is one too.
    pub async fn preview(&self, draft: &Draft, person: Option<PersonId>) -> Result<Preview, CampaignError> {
        let template = self.check(draft).await?;
        let fields = match person {
            Some(id) => self.fields_of(id).await?,
            None => self.example(&template),
        };
        let slots = Slots {
            links: template.links().to_vec(),
            pixel: EMPTY_PIXEL.into(),
            unsubscribe: "https://example.invalid/u".into(),
        };
        let rendered = template.renderer()?.render(&fields, &slots).map_err(|p| CampaignError::Invalid(vec![p]))?;
        let lints = lint(draft, &template, &rendered);
        Ok(Preview { rendered, lints })
    }

    /// Sends a draft to one person (the author), untracked and counted by no campaign, with `[Test]` before the subject.
    ///
    /// # Errors
    /// As [`Campaigns::preview`]; also when there is no key for the sender's domain.
    pub async fn send_test(&self, draft: &Draft, person: PersonId) -> Result<CopyId, CampaignError> {
        self.check(draft).await?;
        let fields = self.fields_of(person).await?;
        crate::dispatch::send_test(&self.directory, draft, person, fields.address.clone(), fields).await
    }

    async fn fields_of(&self, id: PersonId) -> Result<Fields, CampaignError> {
        let person = self.directory.person(id).await?.ok_or(CampaignError::NoPerson(id))?;
        Ok(Fields {
            name: person.name,
            address: person.address,
            department: person.department,
            city: person.city,
            language: person.language,
            attributes: person.attributes.into_iter().map(|(k, v)| (k, v.into())).collect(),
        })
    }

    /// A stand-in for a person: each field shows its own name.
    fn example(&self, template: &Template) -> Fields {
        let attributes = template.fields().into_iter().map(|name| (name.clone(), format!("[{name}]").into())).collect();
        Fields { attributes, ..Fields::default() }
    }

    /// Everything that must hold for a draft, with its compiled content.
    async fn check(&self, draft: &Draft) -> Result<Template, CampaignError> {
        let template = draft.check()?;
        let mut problems = template.unknown_fields(draft, &self.attribute_names().await?);
        let store = self.directory.store();
        if let Some(list) = draft.list_id
            && store.query_one("campaign.list_exists", &values![self.directory.id(), list]).await?.is_none()
        {
            problems.push(Problem::new("list_id", "there is no such list"));
        }
        if draft.tracking == Tracking::Individual && self.directory.settings().await?.tracking.individual.is_none() {
            let message =
                "individual tracking is off: the owner switches it on in the settings, with purpose and legal basis";
            problems.push(Problem::new("tracking", message));
        }
        if problems.is_empty() { Ok(template) } else { Err(CampaignError::Invalid(problems)) }
    }

    async fn attribute_names(&self) -> Result<BTreeSet<String>, CampaignError> {
        let values = values![self.directory.id(), ATTRIBUTE_NAMES_MAX];
        let rows = self.directory.store().query("campaign.attribute_names", &values).await?;
        Ok(rows.iter().map(|row| row.text("name").map(str::to_owned)).collect::<Result<_, _>>()?)
    }

    /// Checks every person of the audience, freezes it and starts to send, in one transaction.
    ///
    /// # Errors
    /// [`CampaignError::Invalid`] names what is missing: a list, people, a key for the sender's domain, a tracking
    /// address, or people without a value for a merge field without default. Nothing is half done.
    pub async fn start(&self, id: CampaignId) -> Result<Campaign, CampaignError> {
        let campaign = self.get(id).await?;
        campaign.state.advance(Action::Start)?;
        let template = self.check(&campaign.draft).await?;
        let from = campaign.draft.from()?;
        Signing::load(&self.directory, from.domain()).await?;
        if self.directory.settings().await?.tracking.base_url.is_empty() {
            return Err(CampaignError::invalid("tracking", NO_BASE_URL));
        }
        let list = campaign.draft.list_id.ok_or_else(|| CampaignError::invalid("list_id", "choose who gets it"))?;
        self.check_audience(&campaign, &template, list.0).await?;

        let store = self.directory.store();
        let mut tx = store.begin().await?;
        let frozen = tx.execute("campaign.freeze", &values![id, list, self.directory.id()]).await;
        // Somebody else started it a moment ago: their audience stands.
        frozen.map_err(|error| if error.is_conflict() { CampaignError::Changed } else { error.into() })?;
        let links = template.links().iter().zip(0_i64..).map(|(url, position)| {
            let link_id: LinkId = store.next_id();
            values![link_id, id, position, url].to_vec()
        });
        tx.insert_many("campaign.insert_link", &links.collect::<Vec<_>>()).await?;
        let values = values![self.directory.id(), id, store.now(), campaign.updated_at];
        if tx.execute("campaign.set_started", &values).await? == 0 {
            return Err(CampaignError::Changed);
        }
        tx.commit().await?;
        store.bus().announce(Topic::Campaign, id);
        self.get(id).await
    }

    /// Renders the message of every person once: whoever cannot get theirs is named before anything is sent.
    async fn check_audience(&self, campaign: &Campaign, template: &Template, list: i64) -> Result<(), CampaignError> {
        let mut after = 0_i64;
        let mut bad: Vec<Problem> = Vec::new();
        let (mut bad_count, mut count) = (0_usize, 0_usize);
        let slots = Slots { links: template.links().to_vec(), pixel: EMPTY_PIXEL.into(), unsubscribe: "-".into() };
        loop {
            let values = values![list, campaign.organisation_id, after, CHECK_PAGE];
            let rows = self.directory.store().query("campaign.audience_page", &values).await?;
            let Some(last) = rows.last() else { break };
            after = last.int("id")?;
            count += rows.len();
            let people: Vec<Fields> = rows.iter().map(person_fields).collect::<Result<_, StoreError>>()?;
            let (template, slots) = (template.clone(), slots.clone());
            let found = tokio::task::spawn_blocking(move || render_all(&template, &people, &slots));
            let found = found.await.map_err(|e| CampaignError::Internal(format!("rendering ended: {e}")))??;
            bad_count += found.len();
            bad.extend(found.into_iter().take(PEOPLE_NAMED_MAX.saturating_sub(bad.len())));
        }
        if count == 0 {
            return Err(CampaignError::invalid(
                "list_id",
                "nobody on this list may get it: the list is empty or suppressed",
            ));
        }
        if bad_count > bad.len() {
            bad.push(Problem::new("content", format!("and {} people more", bad_count - bad.len())));
        }
        if bad.is_empty() { Ok(()) } else { Err(CampaignError::Invalid(bad)) }
    }

    /// Stops exactly: no copy is made and no waiting copy is handed over any more. What a host is just being given ends.
    ///
    /// # Errors
    /// [`CampaignError::State`] when it is not being sent.
    pub async fn pause(&self, id: CampaignId) -> Result<Campaign, CampaignError> {
        let mut tx = self.directory.store().begin().await?;
        self.advance(&mut tx, id, Action::Pause).await?;
        outbound::hold_campaign(&mut tx, id).await?;
        self.moved(tx, id).await
    }

    /// Goes on where it stopped.
    ///
    /// # Errors
    /// [`CampaignError::State`] when it is not paused.
    pub async fn resume(&self, id: CampaignId) -> Result<Campaign, CampaignError> {
        let mut tx = self.directory.store().begin().await?;
        self.advance(&mut tx, id, Action::Resume).await?;
        outbound::resume_campaign(&mut tx, id).await?;
        self.moved(tx, id).await
    }

    /// Stops for good. Copies that had not left do not leave; their ledger says so shortly after (the dispatcher's work).
    ///
    /// # Errors
    /// [`CampaignError::State`] unless it is being sent or paused.
    pub async fn cancel(&self, id: CampaignId) -> Result<Campaign, CampaignError> {
        let mut tx = self.directory.store().begin().await?;
        self.advance(&mut tx, id, Action::Cancel).await?;
        outbound::hold_campaign(&mut tx, id).await?;
        self.moved(tx, id).await
    }

    /// The state guarded in the transaction: two people who press at the same time cannot both win.
    async fn advance(&self, tx: &mut Tx, id: CampaignId, action: Action) -> Result<(), CampaignError> {
        let row = tx.query_one("campaign.by_id", &values![self.directory.id(), id]).await?;
        let from = Campaign::from_row(&row.ok_or(CampaignError::NotFound(id))?)?.state;
        let to = from.advance(action)?;
        let values = values![self.directory.id(), id, to.as_str(), tx.store().now(), from.as_str()];
        if tx.execute("campaign.move", &values).await? == 0 { Err(CampaignError::Changed) } else { Ok(()) }
    }

    async fn moved(&self, tx: Tx, id: CampaignId) -> Result<Campaign, CampaignError> {
        tx.commit().await?;
        let bus = self.directory.store().bus();
        bus.announce(Topic::Campaign, id);
        bus.announce(Topic::Delivery, id);
        self.get(id).await
    }

    /// How far it is.
    ///
    /// # Errors
    /// [`CampaignError::NotFound`].
    pub async fn progress(&self, id: CampaignId) -> Result<Progress, CampaignError> {
        let campaign = self.get(id).await?;
        let store = self.directory.store();
        let mut progress = Progress {
            state: campaign.state,
            total: campaign.audience_count,
            enqueued: 0,
            suppressed: campaign.suppressed_count,
            accepted: 0,
            failed: 0,
            waiting: 0,
        };
        for row in store.query("campaign.recipient_counts", &values![id]).await? {
            if row.text("state")? == "enqueued" {
                progress.enqueued = row.int("n")?;
            }
        }
        for row in store.query("delivery.campaign_counts", &values![id]).await? {
            match row.text("state")? {
                "done" => progress.accepted = row.int("n")?,
                "failed" => progress.failed = row.int("n")?,
                _ => progress.waiting += row.int("n")?,
            }
        }
        Ok(progress)
    }

    /// A page of the frozen audience. `after`: the last position of the page before, or 0.
    ///
    /// # Errors
    /// [`CampaignError::NotFound`].
    pub async fn audience(&self, id: CampaignId, after: i64, limit: i64) -> Result<Vec<AudienceMember>, CampaignError> {
        self.get(id).await?;
        let values = values![id, after, limit.clamp(1, AUDIENCE_PAGE_MAX)];
        let rows = self.directory.store().query("campaign.recipients", &values).await?;
        rows.iter()
            .map(|row| {
                Ok(AudienceMember {
                    position: row.int("position")?,
                    person_id: row.id("person_id")?,
                    address: row.text("address")?.to_owned(),
                    state: row.text("state")?.to_owned(),
                    copy_id: row.opt_id("copy_id")?,
                })
            })
            .collect()
    }

    /// Lets no campaign go to `address` any more; an address that is on the list keeps its first reason.
    ///
    /// # Errors
    /// The store's.
    pub async fn suppress(&self, address: &Address, reason: &str) -> Result<(), CampaignError> {
        self.suppress_as(address, reason, "asked").await
    }

    /// As [`Campaigns::suppress`], of a kind: `asked`, `unsubscribed`, `bounced`, `complained`.
    pub(crate) async fn suppress_as(&self, address: &Address, reason: &str, kind: &str) -> Result<(), CampaignError> {
        let reason = model::SqlText::new(reason);
        let store = self.directory.store();
        let values = values![self.directory.id(), address.key(), &reason, store.now(), kind];
        store.execute("campaign.suppress", &values).await?;
        Ok(())
    }

    /// Lets campaigns go to `address` again; whether it was on the list.
    ///
    /// # Errors
    /// The store's.
    pub async fn unsuppress(&self, address: &Address) -> Result<bool, CampaignError> {
        let values = values![self.directory.id(), address.key()];
        Ok(self.directory.store().execute("campaign.unsuppress", &values).await? > 0)
    }

    /// A page of the suppression list by address. `after`: the last address of the page before.
    pub async fn suppressions(&self, after: &str, limit: i64) -> Result<Vec<Suppression>, CampaignError> {
        let values = values![self.directory.id(), after, limit.clamp(1, SUPPRESSIONS_PAGE_MAX)];
        let rows = self.directory.store().query("campaign.suppressions", &values).await?;
        rows.iter()
            .map(|row| {
                Ok(Suppression {
                    address: row.text("address")?.to_owned(),
                    reason: row.text("reason")?.to_owned(),
                    created_at: row.at("created_at")?,
                    kind: row.text("kind")?.to_owned(),
                })
            })
            .collect()
    }
}

/// What a start says when links would point nowhere.
pub(crate) const NO_BASE_URL: &str = "set the address that links point to first (settings, tracking.base_url)";
/// A picture of nothing, where a preview has no pixel to fetch.
const EMPTY_PIXEL: &str = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";

fn person_fields(row: &store::Row) -> Result<Fields, StoreError> {
    Ok(Fields {
        name: row.text("name")?.to_owned(),
        address: row.text("address")?.to_owned(),
        department: row.text("department")?.to_owned(),
        city: row.text("city")?.to_owned(),
        language: row.text("language")?.to_owned(),
        attributes: row.json("attributes")?,
    })
}

fn render_all(template: &Template, people: &[Fields], slots: &Slots) -> Result<Vec<Problem>, CampaignError> {
    let renderer = template.renderer()?;
    let mut problems = Vec::new();
    for person in people {
        if let Err(problem) = renderer.render(person, slots) {
            let message = format!("{}: {}", person.address, problem.message);
            problems.push(Problem { message, ..problem });
        } else if let Err(error) = Address::parse(&person.address) {
            problems.push(Problem::new("list_id", format!("{}: {error}", person.address)));
        }
    }
    Ok(problems)
}
