//! The API over HTTP: as a program meets it, with a token, or as a browser does, with a session.

use std::fmt;
use std::net::SocketAddr;

use reqwest::{Method, RequestBuilder, redirect};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::site::WAIT;

const PASSWORD: &str = "a long enough password";

/// An account that is signed in.
#[derive(Clone)]
pub struct Api {
    http: reqwest::Client,
    base: String,
    auth: Auth,
}

#[derive(Clone)]
enum Auth {
    Token(String),
    Session { cookie: String, csrf: String },
}

/// An answer, read whole.
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Vec<u8>,
    /// The body, what is not UTF-8 replaced.
    pub text: String,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.text)
    }
}

impl Answer {
    async fn of(request: RequestBuilder) -> Answer {
        let answer = request.send().await.expect("an answer");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = answer.bytes().await.expect("a body").to_vec();
        let text = String::from_utf8_lossy(&body).into_owned();
        Answer { status, headers, body, text }
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("not JSON ({e}): {self:?}"))
    }

    /// Fails unless it worked.
    #[track_caller]
    pub fn done(&self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        self.json()
    }

    /// Fails unless it is a problem document with this status and field, whose text says all of this.
    #[track_caller]
    pub fn refused(&self, status: u16, field: &str, words: &[&str]) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.headers["content-type"], "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["field"].as_str().unwrap_or(""), field, "{problem}");
        for words in words {
            assert!(problem["detail"].as_str().is_some_and(|d| d.contains(words)), "{words:?} not in {problem}");
        }
    }
}

/// A client that follows no redirects.
pub fn client() -> reqwest::Client {
    let built = reqwest::Client::builder().redirect(redirect::Policy::none()).timeout(WAIT).build();
    built.expect("a web client")
}

/// A GET by nobody.
pub async fn visit(http: SocketAddr, path: &str) -> Answer {
    Answer::of(client().get(format!("http://{http}{path}"))).await
}

/// A request with headers of the test's own.
pub async fn send(request: RequestBuilder) -> Answer {
    Answer::of(request).await
}

/// A sign-in by the link's token.
pub async fn sign_in_by_link(http: SocketAddr, token: &str) -> Answer {
    let url = format!("http://{http}/api/v1/session/link");
    Answer::of(client().post(url).json(&json!({ "token": token }))).await
}

impl Api {
    /// The owner, through the first-run link.
    pub async fn owner(http: SocketAddr, link: &str) -> Api {
        let token = link.rsplit('/').next().expect("a token");
        let session = Api::from_session(http, &sign_in_by_link(http, token).await);
        let made = session.post("/tokens", json!({ "name": "test" })).await.done();
        Api { auth: Auth::Token(made["secret"].as_str().expect("a secret").to_owned()), ..session }
    }

    /// A new login for the mailbox of a person.
    pub async fn login_of(&self, http: SocketAddr, address: &str) -> Api {
        let people = self.items(&format!("/people?query={address}")).await;
        let new = json!({ "login": address, "name": "Reader", "role": "recipient", "person_id": people[0]["id"],
            "password": PASSWORD });
        self.post("/accounts", new).await.done();
        let url = format!("http://{http}/api/v1/session");
        let session = Answer::of(client().post(url).json(&json!({ "login": address, "password": PASSWORD }))).await;
        Api::from_session(http, &session)
    }

    fn from_session(http: SocketAddr, session: &Answer) -> Api {
        let me = session.done();
        let cookie = session.headers["set-cookie"].to_str().expect("a cookie").split(';').next().expect("a cookie");
        let csrf = me["csrf"].as_str().expect("a csrf token").to_owned();
        let auth = Auth::Session { cookie: cookie.to_owned(), csrf };
        Api { http: client(), base: format!("http://{http}/api/v1"), auth }
    }

    /// The same account on a server that was started again.
    pub fn on(&self, http: SocketAddr) -> Api {
        Api { base: format!("http://{http}/api/v1"), ..self.clone() }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.auth {
            Auth::Token(token) => request.bearer_auth(token),
            Auth::Session { cookie, csrf } => request.header("cookie", cookie).header("x-csrf-token", csrf),
        }
    }

    /// GET, whatever comes.
    pub async fn try_get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path)).await
    }

    /// GET of what is there.
    pub async fn get(&self, path: &str) -> Value {
        self.try_get(path).await.done()
    }

    /// POST of JSON.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        Answer::of(self.request(Method::POST, path).json(&body)).await
    }

    /// PUT of JSON.
    pub async fn put(&self, path: &str, body: Value) -> Answer {
        Answer::of(self.request(Method::PUT, path).json(&body)).await
    }

    /// DELETE, whatever comes.
    pub async fn delete(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::DELETE, path)).await
    }

    /// An import of people; all of them go on the list Everyone.
    pub async fn import(&self, csv: &str) -> Answer {
        let request = self.request(Method::POST, "/people/import?list=Everyone").header("content-type", "text/csv");
        Answer::of(request.body(csv.to_owned())).await
    }

    /// An import of these people, named after their local parts.
    pub async fn add_people(&self, addresses: &[&str]) {
        let rows: Vec<String> =
            addresses.iter().map(|a| format!("{a},{}\n", a.split('@').next().unwrap_or(a))).collect();
        let report = self.import(&format!("address,name\n{}", rows.concat())).await.done();
        assert_eq!(report["applied"], true, "{report}");
    }

    /// The items of a first page.
    pub async fn items(&self, path: &str) -> Vec<Value> {
        let page = self.get(path).await;
        page["items"].as_array().unwrap_or_else(|| panic!("{path} is no page: {page}")).clone()
    }

    /// A recipient's copies, all pages of them.
    pub async fn copies_of(&self, recipient: &str) -> Vec<Value> {
        let first = format!("/trace?limit=200&recipient={recipient}");
        let (mut all, mut path) = (Vec::new(), first.clone());
        loop {
            let page = self.get(&path).await;
            all.extend(page["items"].as_array().expect("items").iter().cloned());
            let Some(next) = page["next"].as_str() else { return all };
            path = format!("{first}&after={next}");
        }
    }

    /// What is in the account's own inbox, as it was received.
    pub async fn inbox(&self) -> Vec<Vec<u8>> {
        let folders = self.get("/mailbox/folders").await;
        let inbox = folders.as_array().and_then(|all| all.iter().find(|f| f["role"] == "inbox")).expect("an inbox");
        let path = format!("/mailbox/folders/{}/items", inbox["id"].as_str().expect("an id"));
        let mut raw = Vec::new();
        for item in self.items(&path).await {
            let path = format!("/mailbox/items/{}/raw", item["id"].as_str().expect("an id"));
            raw.push(self.try_get(&path).await.body);
        }
        raw
    }

    /// Says where links in campaigns point to.
    pub async fn set_base_url(&self, http: SocketAddr) {
        let mut settings = self.get("/settings").await;
        settings["tracking"]["base_url"] = json!(format!("http://{http}"));
        self.put("/settings", settings).await.done();
    }

    /// Writes a campaign to the list Everyone, sends it, and waits until every copy has an outcome; gives its id.
    pub async fn send_campaign(&self, draft: Value) -> String {
        let made = self.post("/campaigns", draft).await.done();
        let path = format!("/campaigns/{}", made["id"].as_str().expect("an id"));
        self.post(&format!("{path}/send"), json!({})).await.done();
        let sent = async || (self.get(&path).await["state"] == "sent").then_some(());
        self.until("the end of the campaign", sent).await;
        made["id"].as_str().expect("an id").to_owned()
    }

    /// The id of the list Everyone.
    pub async fn everyone(&self) -> Value {
        let lists = self.get("/lists").await;
        lists.as_array().and_then(|all| all.iter().find(|l| l["name"] == "Everyone")).expect("the list")["id"].clone()
    }

    /// Asks again at each piece of news until there is an answer.
    pub async fn until<T>(&self, what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
        let mut news = self.request(Method::GET, "/events").send().await.expect("a line of events");
        assert_eq!(news.status(), 200);
        let waiting = async {
            loop {
                if let Some(answer) = ask().await {
                    return answer;
                }
                news.chunk().await.expect("the line is open").expect("more news");
            }
        };
        timeout(WAIT, waiting).await.unwrap_or_else(|_| panic!("{what} did not come"))
    }
}
