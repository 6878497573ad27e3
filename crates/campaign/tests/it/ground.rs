//! What the tests stand on: an organisation with people, a list and a key.

use std::collections::BTreeMap;
use std::sync::Arc;

use campaign::{Campaign, Campaigns, ContentType, DispatchConfig, Dispatcher, Draft, Tracker, Tracking};
use directory::{Directory, NewOrganisation, NewPerson};
use message::dkim::DkimKey;
use model::{Address, CampaignId, CopyId, Domain, ListId, PersonId, TestClock};
use store::{BodyRef, Store, values};
use testkit::TestStore;
use tokio_util::sync::CancellationToken;

pub const MJML: &str = r#"<mjml>
  <mj-head><mj-title>News</mj-title></mj-head>
  <mj-body>
    <mj-section><mj-column>
      <mj-text>Hello {{ first_name | default("there") }}, news for {{ department | default("everybody") }}.</mj-text>
      <mj-button href="https://intranet.contoso.example/news?id=1&amp;x=2">Read the news</mj-button>
      <mj-text>See <a href="https://intranet.contoso.example/canteen">the canteen</a>,
        <a href="https://intranet.contoso.example/jobs">jobs</a> and
        <a href="https://intranet.contoso.example/canteen">the canteen again</a>.</mj-text>
      <mj-text><a href="{{ unsubscribe_url }}">Unsubscribe</a></mj-text>
    </mj-column></mj-section>
  </mj-body>
</mjml>"#;

pub struct Ground {
    pub store: Store,
    pub clock: Arc<TestClock>,
    pub directory: Directory,
    pub campaigns: Campaigns,
    pub tracker: Tracker,
    pub list: ListId,
    pub name: &'static str,
}

pub fn person(address: &str, name: &str, attributes: &[(&str, &str)]) -> NewPerson {
    NewPerson {
        address: Address::parse(address).unwrap(),
        name: name.into(),
        department: "Sales".into(),
        city: String::new(),
        language: "en".into(),
        attributes: attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>(),
    }
}

/// An organisation that can send, with `count` people on one list.
pub async fn ground(t: &TestStore, count: usize) -> Ground {
    let domains = vec![Domain::parse("contoso.example").unwrap()];
    let directory = Directory::create(&t.store, NewOrganisation { name: "Contoso".into(), domains }).await.unwrap();
    let key = DkimKey::generate().unwrap();
    directory.put_secret("dkim", "s1._domainkey.contoso.example", &key.to_pem()).await.unwrap();
    let mut settings = directory.settings().await.unwrap();
    settings.tracking.base_url = "http://t.contoso.localhost:8080".into();
    directory.save_settings(&settings).await.unwrap();
    let list = directory.put_list("Everybody").await.unwrap();
    let tracker = Tracker::new(directory.clone()).await.unwrap();
    let campaigns = Campaigns::new(directory.clone());
    let ground =
        Ground { store: t.store.clone(), clock: t.clock.clone(), directory, campaigns, tracker, list, name: t.name };
    let people: Vec<NewPerson> =
        (0..count).map(|i| person(&format!("p{i:05}@contoso.example"), &format!("Pia{i} Berg"), &[])).collect();
    ground.add(&people).await;
    ground
}

impl Ground {
    /// The same ground after a restart.
    pub async fn again(t: &TestStore, list: ListId) -> Ground {
        let directory = Directory::open(&t.store).await.unwrap().expect("the organisation");
        let tracker = Tracker::new(directory.clone()).await.unwrap();
        let campaigns = Campaigns::new(directory.clone());
        Ground { store: t.store.clone(), clock: t.clock.clone(), directory, campaigns, tracker, list, name: t.name }
    }

    /// Puts people on the list.
    pub async fn add(&self, people: &[NewPerson]) -> Vec<PersonId> {
        let mut ids = Vec::new();
        for page in people.chunks(500) {
            self.directory.put_people(page).await.unwrap();
            for person in page {
                let known = self.directory.person_by_address(&person.address.key()).await.unwrap();
                ids.push(known.expect("just put").id);
            }
        }
        self.directory.add_to_list(self.list, &ids).await.unwrap();
        ids
    }

    pub fn draft(&self) -> Draft {
        Draft {
            name: "March".into(),
            subject: "News for {{ first_name | default(\"you\") }}".into(),
            from_name: "Contoso News".into(),
            from_address: "news@contoso.example".into(),
            content_type: ContentType::Mjml,
            content: MJML.into(),
            list_id: Some(self.list),
            tracking: Tracking::Anonymous,
            click_tracking: true,
        }
    }

    /// A campaign that was just started.
    pub async fn started(&self) -> Campaign {
        self.started_with(&self.draft()).await
    }

    pub async fn started_with(&self, draft: &Draft) -> Campaign {
        let campaign = self.campaigns.create(draft, None).await.unwrap();
        self.campaigns.start(campaign.id).await.unwrap()
    }

    pub fn dispatcher(&self, batch_max: i64) -> Dispatcher {
        let config = DispatchConfig { batch_max, threads: 2, ..DispatchConfig::default() };
        Dispatcher::new(self.tracker.clone(), config, CancellationToken::new()).unwrap()
    }

    /// The copies of a campaign by address, in the order of the audience.
    pub async fn copies(&self, id: CampaignId) -> Vec<(String, CopyId)> {
        let mut copies = Vec::new();
        let mut after = 0;
        loop {
            let page = self.campaigns.audience(id, after, 1_000).await.unwrap();
            let Some(last) = page.last() else { return copies };
            after = last.position;
            copies.extend(page.into_iter().filter_map(|member| Some((member.address, member.copy_id?))));
        }
    }

    /// The message of a copy, as stored.
    pub async fn body(&self, copy_id: CopyId) -> String {
        let copy = self.store.query_one("copy.by_id", &values![copy_id]).await.unwrap().expect("the copy");
        let message_id = copy.int("message_id").unwrap();
        let row = self.store.query_one("message.by_id", &values![message_id]).await.unwrap().expect("the message");
        let place = BodyRef::from_row(&row).unwrap();
        assert!(self.store.verify_body(&place).await.unwrap(), "the body is what its hash says");
        String::from_utf8(self.store.body(&place).await.unwrap().to_vec()).unwrap()
    }

    /// How many deliveries of a campaign are in each state.
    pub async fn deliveries(&self, id: CampaignId) -> BTreeMap<String, i64> {
        let rows = self.store.query("delivery.campaign_counts", &values![id]).await.unwrap();
        rows.iter().map(|row| (row.text("state").unwrap().to_owned(), row.int("n").unwrap())).collect()
    }

    /// Lets a host take every delivery that is due.
    pub async fn hand_over(&self) {
        let now = self.store.now();
        let none = serde_json::json!([]);
        loop {
            let values = values!["agent", now.plus_ms(60_000), now, 500_i64, &none];
            let mut tx = self.store.begin().await.unwrap();
            let rows = tx.query("delivery.claim_due", &values).await.unwrap();
            for row in &rows {
                let id = row.int("id").unwrap();
                let done = values!["done", "250 2.0.0 ok", id, "agent", 1_i64].to_vec();
                tx.execute_each("delivery.finish", vec![done]).await.unwrap();
            }
            tx.commit().await.unwrap();
            if rows.is_empty() {
                return;
            }
        }
    }
}

/// What stands between two marks.
pub fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let start = text.find(from).unwrap_or_else(|| panic!("{from:?} in {text}")) + from.len();
    &text[start..start + text[start..].find(to).unwrap_or_else(|| panic!("{to:?} after {from:?}"))]
}

/// The body's soft line breaks and escapes undone, roughly: enough to read addresses.
pub fn plain(body: &str) -> String {
    body.replace("=\r\n", "").replace("=3D", "=")
}

/// All tokens behind `/t/` or `/o/`, in order, each once.
pub fn tokens(body: &str, kind: &str) -> Vec<String> {
    let body = plain(body);
    let mut found: Vec<String> = Vec::new();
    for part in body.split(&format!("http://t.contoso.localhost:8080/{kind}/")).skip(1) {
        let end = part.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_')).unwrap_or(part.len());
        let token = part[..end].to_owned();
        if !found.contains(&token) {
            found.push(token);
        }
    }
    found
}
