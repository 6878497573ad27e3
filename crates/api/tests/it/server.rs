//! A server with an organisation, one login per role, and a mail that arrived.

use std::collections::BTreeMap;

use api::{ApiConfig, AppState};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use campaign::Tracker;
use directory::{Directory, MailboxConnectors, NewAccount, NewOrganisation, NewPerson, ProtectionCache};
use futures::StreamExt;
use mailbox::{Connectors, Delivery, Embedded, FolderRole, deliver_ops};
use model::{CopyId, Domain, EventKind, MessageId, OrganisationId, PersonId, Place, QuarantineItemId, Role};
use serde_json::Value as Json;
use store::{BodyRef, NewEvent, Op, Store, Submission, Value, values};
use testkit::TestStore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// The password of every login.
pub const PASSWORD: &str = "correct horse battery";

pub struct Server {
    pub router: Router,
    pub directory: Directory,
    pub tracker: Tracker,
    pub store: Store,
    /// The person whose mailbox is the recipient's login's own.
    pub person: PersonId,
    tokens: BTreeMap<&'static str, String>,
    /// Keeps the files.
    pub test: TestStore,
}

/// A line of server-sent events.
pub struct Line(axum::body::BodyDataStream);

impl Line {
    /// The next piece, within half a minute.
    pub async fn next(&mut self) -> String {
        let wait = tokio::time::timeout(std::time::Duration::from_secs(30), self.0.next());
        let piece = wait.await.expect("news within half a minute").expect("the line is open").expect("a piece");
        String::from_utf8(piece.to_vec()).expect("events are UTF-8")
    }
}

/// An answer with its body read.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("not JSON ({e}): {self:?}"))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("a text answer is UTF-8")
    }

    /// The value of a header, or empty.
    pub fn header(&self, name: impl header::AsHeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("an ASCII header"))
    }

    /// Fails unless the answer has this status.
    #[track_caller]
    pub fn expect(self, status: StatusCode) -> Self {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self
    }
}

impl Server {
    pub async fn start(test: TestStore) -> Server {
        Server::start_with(test, MailboxConnectors::default(), Connectors::default()).await
    }

    /// As [`Server::start`], where other systems keep mailboxes.
    pub async fn start_with(test: TestStore, known: MailboxConnectors, connectors: Connectors) -> Server {
        let domains = vec![Domain::parse("contoso.example").expect("a domain")];
        let new = NewOrganisation { name: "Contoso".into(), domains: domains.clone() };
        let directory = Directory::create(&test.store, new).await.expect("an organisation");
        let directory = directory.with_mailbox_connectors(known);
        let mut tx = test.store.begin().await.expect("a transaction");
        changes::first_version(&mut tx, directory.id(), &domains, "test").await.expect("a first version");
        tx.commit().await.expect("a commit");
        let ada = NewPerson {
            address: "ada@contoso.example".parse().expect("an address"),
            name: "Ada Byron".into(),
            department: "Research".into(),
            city: "Bonn".into(),
            language: "en".into(),
            attributes: BTreeMap::new(),
        };
        directory.put_people(&[ada]).await.expect("people");
        let person = directory.person_by_address("ada@contoso.example").await.expect("a person").expect("Ada").id;
        let protection = ProtectionCache::start(&directory).await.expect("a protection");
        let tracker = Tracker::new(directory.clone()).await.expect("a tracker");
        let about = ApiConfig { https: true, version: "0.0.0".into() };
        let stop = CancellationToken::new();
        let quarantine =
            quarantine::Quarantine::new(directory.clone(), protection.clone()).with_connectors(connectors.clone());
        let state = AppState::new(directory.clone(), protection, tracker.clone(), None, stop, about)
            .with_quarantine(quarantine)
            .with_connectors(connectors);
        let store = test.store.clone();
        let mut server =
            Server { router: api::router(state), directory, tracker, store, person, tokens: BTreeMap::new(), test };
        for role in Role::ALL {
            server.add_login(*role).await;
        }
        server
    }

    async fn add_login(&mut self, role: Role) {
        let new = NewAccount {
            login: role.as_str().into(),
            name: role.as_str().into(),
            role,
            person_id: (role == Role::Recipient).then_some(self.person),
            password: None,
        };
        let account = self.directory.create_account(new).await.expect("an account");
        let (_, token) = self.directory.create_api_token(account.id, "test").await.expect("a token");
        self.tokens.insert(role.as_str(), token);
    }

    /// The API token of a role's login.
    pub fn token(&self, role: Role) -> &str {
        &self.tokens[role.as_str()]
    }

    /// Sends a request as it is.
    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("the router always answers");
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 16 * 1024 * 1024).await.expect("a body that ends");
        Answer { status: parts.status, headers: parts.headers, body: body.to_vec() }
    }

    /// The head of an answer whose body does not end.
    pub async fn head_of(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("the router always answers");
        Answer { status: response.status(), headers: response.headers().clone(), body: Vec::new() }
    }

    /// A line of server-sent events.
    pub async fn listen(&self, role: Role, path: &str) -> Line {
        let request = Request::get(format!("/api/v1{path}"))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token(role)))
            .body(Body::empty())
            .expect("a request");
        let response = self.router.clone().oneshot(request).await.expect("the router always answers");
        assert_eq!(response.status(), StatusCode::OK);
        Line(response.into_body().into_data_stream())
    }

    /// A GET by nobody.
    pub async fn visit(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).expect("a request")).await
    }

    /// A GET under /api/v1 by a role.
    pub async fn get(&self, role: Role, path: &str) -> Answer {
        self.call(role, Method::GET, path, None).await
    }

    /// A GET under /api/v1 by a new login of this role that is Ada's own.
    pub async fn get_as_ada(&self, role: Role, path: &str) -> Answer {
        let new = NewAccount {
            login: format!("ada-as-{role}"),
            name: "Ada".into(),
            role,
            person_id: Some(self.person),
            password: None,
        };
        let account = self.directory.create_account(new).await.expect("an account");
        let (_, token) = self.directory.create_api_token(account.id, "test").await.expect("a token");
        let request = Request::get(format!("/api/v1{path}")).header(header::AUTHORIZATION, format!("Bearer {token}"));
        self.send(request.body(Body::empty()).expect("a request")).await
    }

    /// A POST of JSON under /api/v1 by a role.
    pub async fn post(&self, role: Role, path: &str, body: Json) -> Answer {
        self.call(role, Method::POST, path, Some(body)).await
    }

    /// A request under /api/v1 by a role.
    pub async fn call(&self, role: Role, method: Method, path: &str, body: Option<Json>) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token(role)));
        let request = match body {
            Some(body) => request.header(header::CONTENT_TYPE, "application/json").body(Body::from(body.to_string())),
            None => request.body(Body::empty()),
        };
        self.send(request.expect("a request")).await
    }

    /// One mail in Ada's inbox, as the gateway stores it.
    pub async fn receive(&self, raw: &'static str) -> CopyId {
        let mailbox =
            Embedded::new(self.store.clone()).mailbox_of(self.person).await.expect("a mailbox").expect("Ada's");
        let (copy, message): (CopyId, MessageId) = (self.store.next_id(), self.store.next_id());
        let (store, of, person) = (self.store.clone(), self.directory.id(), self.person);
        let submission = Submission::with_body(raw.into(), move |body| {
            let mut ops = arrived(&store, of, copy, message, body, (person, Place::Inbox));
            ops.extend(deliver_ops(&Delivery {
                item_id: store.next_id(),
                mailbox_id: mailbox.id,
                role: FolderRole::Inbox,
                copy_id: copy,
                message_id: message,
                internal_at: store.now(),
                safety_tip: String::new(),
            }));
            ops
        });
        self.store.commit(submission).await.expect("a commit");
        copy
    }

    /// One mail for Ada that the gateway held as spam, and that she may see and ask for; gives the copy and the held item.
    pub async fn hold(&self, raw: &'static str) -> (CopyId, QuarantineItemId) {
        let (copy, message): (CopyId, MessageId) = (self.store.next_id(), self.store.next_id());
        let item: QuarantineItemId = self.store.next_id();
        let (store, of, person) = (self.store.clone(), self.directory.id(), self.person);
        let submission = Submission::with_body(raw.into(), move |body| {
            let mut ops = arrived(&store, of, copy, message, body, (person, Place::Quarantine));
            ops.push(Op::Insert("quarantine.insert", held_row(&store, of, item, copy, message)));
            ops
        });
        self.store.commit(submission).await.expect("a commit");
        (copy, item)
    }
}

/// A message and its copy for Ada, in the inbox or in quarantine.
fn arrived(
    store: &Store,
    of: OrganisationId,
    copy: CopyId,
    message: MessageId,
    body: &BodyRef,
    (person, place): (PersonId, Place),
) -> Vec<Op> {
    let (none_text, none, now) = (None::<&str>, None::<i64>, store.now());
    let kind = if place == Place::Quarantine { EventKind::Held } else { EventKind::Accepted };
    let number = |n: u64| i64::try_from(n).expect("a small number");
    let facts = serde_json::json!(model::Facts::default());
    let message_row = values![
        message,
        of,
        "inbound",
        body.pack_id,
        number(body.offset),
        number(body.bytes),
        &body.sha256,
        "<one@x.example>",
        "news@x.example",
        "news@x.example",
        "News",
        "Hello",
        "hello",
        "127.0.0.1",
        "mx.example",
        now,
        none,
        &facts,
        none_text,
        none_text,
        none
    ];
    let copy_row = values![
        copy,
        of,
        message,
        message,
        none,
        person,
        "ada@contoso.example",
        place.as_str(),
        "",
        kind.as_str(),
        now,
        now,
        now,
        none_text,
        none_text,
        none_text,
        now
    ];
    let event = NewEvent { place: Some(place), ..NewEvent::now(of, copy, kind, "gateway", now) };
    vec![
        Op::Insert("message.insert", message_row.to_vec()),
        Op::Insert("copy.insert", copy_row.to_vec()),
        Op::Event(event),
    ]
}

fn held_row(store: &Store, of: OrganisationId, item: QuarantineItemId, copy: CopyId, message: MessageId) -> Vec<Value> {
    let (none_text, none, now) = (None::<&str>, None::<i64>, store.now());
    let bits = i64::from(verdict::QuarantineTag::PREVIEW | verdict::QuarantineTag::REQUEST_RELEASE);
    values![
        item,
        of,
        copy,
        message,
        none,
        "ada@contoso.example",
        "news@x.example",
        "Hello",
        "hello",
        512i64,
        "arrival",
        "spam",
        "Standard",
        "because",
        bits,
        "needs_review",
        none_text,
        none,
        now,
        now.plus_ms(30 * 86_400_000)
    ]
    .to_vec()
}
