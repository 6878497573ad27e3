//! What tests of the agent share: mails in the queue, an agent, authorities, and hosts that are scripts.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64;
use dns::{Resolver, ZoneServer};
use model::{CopyId, DeliveryId, MessageId, OrganisationId, ReversePath};
use outbound::{Agent, AgentConfig, NewDelivery, Routes, TlsConfig, delivery_ops, queued_copy_ops};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use store::{BodyRef, Op, Store, Submission, Topic, values};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

pub const ORGANISATION: OrganisationId = OrganisationId(1);
pub const WAIT: Duration = Duration::from_secs(60);
pub const HELLO: &[u8] = b"From: a@us.example\r\nSubject: hello\r\nMessage-ID: <1@us.example>\r\n\r\nhi\r\n";

pub async fn enqueue(
    store: &Store,
    to: &[&str],
    body: &'static [u8],
    change: impl Fn(&mut NewDelivery),
) -> Vec<(DeliveryId, CopyId)> {
    let message_id: MessageId = store.next_id();
    let path: ReversePath = "news@us.example".parse().unwrap();
    let (mut rows, mut made) = (Vec::new(), Vec::new());
    for recipient in to {
        let copy_id = store.next_id();
        let to = recipient.parse().unwrap();
        let mut new = NewDelivery::now(store, ORGANISATION, copy_id, message_id, path.clone(), to);
        new.may_tell = false;
        change(&mut new);
        made.push((new.id, copy_id));
        rows.extend(queued_copy_ops(&new, None));
        rows.extend(delivery_ops(new));
    }
    let now = store.now();
    let ops = move |body: &BodyRef| {
        let signed = |n: u64| i64::try_from(n).unwrap();
        let message = values![
            message_id,
            ORGANISATION,
            "outbound",
            body.pack_id,
            signed(body.offset),
            signed(body.bytes),
            &body.sha256,
            "<1@us.example>",
            "news@us.example",
            "a@us.example",
            "",
            "hello",
            "hello",
            "",
            "",
            now,
            None::<i64>,
            None::<&str>,
            None::<&str>,
            None::<&str>,
            None::<i64>
        ];
        std::iter::once(Op::Insert("message.insert", message.to_vec())).chain(rows.iter().cloned()).collect()
    };
    store.commit(Submission::with_body(Bytes::from_static(body), ops)).await.unwrap();
    store.bus().announce(Topic::Delivery, 0_i64);
    made
}

pub async fn one(store: &Store, to: &str) -> DeliveryId {
    enqueue(store, &[to], HELLO, |_| {}).await[0].0
}

pub async fn until<F: Future<Output = bool>>(store: &Store, what: &str, mut holds: impl FnMut() -> F) {
    let mut notices = store.bus().subscribe();
    let looking = async {
        while !holds().await {
            let _ = tokio::time::timeout(Duration::from_millis(100), notices.recv()).await;
        }
    };
    assert!(tokio::time::timeout(WAIT, looking).await.is_ok(), "waited in vain: {what}");
}

/// (state, attempt_count, last_reply)
pub async fn delivery(store: &Store, id: DeliveryId) -> (String, i64, String) {
    let row = store.query_one("delivery.by_id", &values![ORGANISATION, id]).await.unwrap().expect("the delivery");
    (row.text("state").unwrap().into(), row.int("attempt_count").unwrap(), row.text("last_reply").unwrap().into())
}

pub async fn until_tried(store: &Store, id: DeliveryId) -> (String, i64, String) {
    until(store, &format!("{id} is tried"), || async {
        let (state, _, reply) = delivery(store, id).await;
        !reply.is_empty() && state != "leased"
    })
    .await;
    delivery(store, id).await
}

pub struct Running {
    pub agent: Agent,
    stop: CancellationToken,
}

impl Running {
    pub async fn start(store: &Store, routes: Routes, change: impl FnOnce(&mut AgentConfig)) -> Running {
        let stop = CancellationToken::new();
        let mut config = AgentConfig::new("out.us.example");
        change(&mut config);
        let agent = Agent::start(store.clone(), config, routes, stop.clone()).await.unwrap();
        Running { agent, stop }
    }

    pub async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(WAIT, self.agent.stopped()).await.expect("the agent stops");
    }
}

/// An authority and what it signs.
pub struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pub der: CertificateDer<'static>,
}

impl Authority {
    pub fn new() -> Authority {
        let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().clone();
        Authority { issuer: rcgen::Issuer::new(params, key), der }
    }

    fn roots(&self) -> Arc<rustls::RootCertStore> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        Arc::new(roots)
    }

    /// The TLS of a host that wants to see a client's certificate.
    pub fn wary_host(&self, name: &str) -> Arc<rustls::ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::server::WebPkiClientVerifier::builder_with_provider(self.roots(), provider.clone());
        let (private, chain, _) = self.key(name);
        let server = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(builder.build().unwrap())
            .with_single_cert(chain, private)
            .unwrap();
        Arc::new(server)
    }

    /// The TLS of a host of this name, and the host's certificate.
    pub fn host(&self, name: &str) -> (Arc<rustls::ServerConfig>, CertificateDer<'static>) {
        let (private, chain, der) = self.key(name);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, private)
            .unwrap();
        (Arc::new(server), der)
    }

    fn key(&self, name: &str) -> (PrivateKeyDer<'static>, Vec<CertificateDer<'static>>, CertificateDer<'static>) {
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let der = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        (private, vec![der.clone(), self.der.clone()], der)
    }

    pub fn tls(&self) -> TlsConfig {
        TlsConfig::new(self.roots())
    }
}

/// How a host treats STARTTLS.
#[derive(Clone)]
pub enum Starttls {
    No,
    Yes(Arc<rustls::ServerConfig>),
    /// It says 220 and then no TLS.
    Broken,
}

/// Who may log in.
pub const LOGIN: (&str, &str) = ("ada", "secret");

/// A host that is a script: it offers what it is told to, answers from lists, and keeps all it hears.
#[derive(Clone)]
pub struct Host {
    pub addr: SocketAddr,
    offers: Vec<&'static str>,
    starttls: Starttls,
    /// Greetings of the next connections.
    pub banners: Arc<Mutex<VecDeque<&'static str>>>,
    /// The next answers to a recipient.
    pub at_rcpt: Arc<Mutex<HashMap<String, VecDeque<&'static str>>>>,
    /// The next answers to a verb, or to the final dot: "" hangs up, "wait" goes on when [`Host::go`] is told.
    pub at_verb: Arc<Mutex<HashMap<&'static str, VecDeque<&'static str>>>>,
    pub go: Arc<Notify>,
    pub heard: Arc<Mutex<Vec<String>>>,
}

impl Host {
    pub async fn start(offers: &[&'static str], starttls: Starttls) -> Host {
        Host::start_at("127.0.0.1:0", offers, starttls).await
    }

    pub async fn start_at(addr: &str, offers: &[&'static str], starttls: Starttls) -> Host {
        let listener = TcpListener::bind(addr).await.unwrap();
        let host = Host {
            addr: listener.local_addr().unwrap(),
            offers: offers.to_vec(),
            starttls,
            banners: Arc::default(),
            at_rcpt: Arc::default(),
            at_verb: Arc::default(),
            go: Arc::default(),
            heard: Arc::default(),
        };
        host.serve(listener);
        host
    }

    /// Another host whose words are kept with this one's, in their order.
    pub async fn beside(&self) -> Host {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = Host { addr: listener.local_addr().unwrap(), at_verb: Arc::default(), ..self.clone() };
        host.serve(listener);
        host
    }

    fn serve(&self, listener: TcpListener) {
        let serving = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let host = serving.clone();
                tokio::spawn(async move {
                    let Some(mut stream) = host.talk(stream, true).await? else { return Ok(()) };
                    match host.starttls.clone() {
                        Starttls::Yes(tls) => {
                            let stream = TlsAcceptor::from(tls).accept(stream).await?;
                            host.say("TLS");
                            host.talk(stream, false).await.map(|_| ())
                        }
                        Starttls::Broken | Starttls::No => stream.write_all(b"this is no TLS\r\n").await,
                    }
                });
            }
        });
    }

    /// What is answered to a verb from now on, once each.
    pub fn script(&self, verb: &'static str, answers: &[&'static str]) {
        self.at_verb.lock().unwrap().entry(verb).or_default().extend(answers);
    }

    fn say(&self, what: &str) {
        self.heard.lock().unwrap().push(what.to_owned());
    }

    pub fn heard(&self, what: &str) -> usize {
        self.heard.lock().unwrap().iter().filter(|line| line.starts_with(what)).count()
    }

    pub fn lines(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    async fn talk<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S, greet: bool) -> std::io::Result<Option<S>> {
        let mut stream = BufReader::new(stream);
        if greet {
            let banner = self.banners.lock().unwrap().pop_front().unwrap_or("220 host.example");
            stream.write_all(format!("{banner}\r\n").as_bytes()).await?;
        }
        let (mut line, mut in_data) = (String::new(), false);
        while stream.read_line(&mut line).await? > 0 {
            let said = line.trim_end_matches(['\r', '\n']).to_owned();
            line.clear();
            self.say(&said);
            if in_data && said != "." {
                continue;
            }
            let verb = said.split([' ', ':']).next().unwrap_or_default();
            let scripted = self.at_verb.lock().unwrap().get_mut(verb).and_then(VecDeque::pop_front);
            match scripted {
                Some("") => return Ok(None),
                Some("wait") => self.go.notified().await,
                Some(answer) => {
                    in_data = false;
                    stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
                    continue;
                }
                None => {}
            }
            let answer = match verb {
                "EHLO" => {
                    let tls = if matches!(self.starttls, Starttls::No) || !greet { "" } else { "250-STARTTLS\r\n" };
                    let offers: String = self.offers.iter().map(|offer| format!("250-{offer}\r\n")).collect();
                    format!("250-host.example\r\n{tls}{offers}250 HELP\r\n")
                }
                "STARTTLS" => {
                    stream.write_all(b"220 go\r\n").await?;
                    return Ok(Some(stream.into_inner()));
                }
                "RCPT" => {
                    let to = said.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
                    let reply = self.at_rcpt.lock().unwrap().get_mut(&to).and_then(VecDeque::pop_front);
                    format!("{}\r\n", reply.unwrap_or("250 2.1.5 ok"))
                }
                "AUTH" => {
                    let is_known = Self::login(&said, &mut stream).await? == format!("\0{}\0{}", LOGIN.0, LOGIN.1);
                    let answer = if is_known { "235 2.7.0 welcome" } else { "535 5.7.8 who are you?" };
                    format!("{answer}\r\n")
                }
                "DATA" => {
                    in_data = true;
                    "354 go on\r\n".into()
                }
                "QUIT" => "221 bye\r\n".into(),
                _ => {
                    in_data = false;
                    "250 2.0.0 ok\r\n".into()
                }
            };
            stream.write_all(answer.as_bytes()).await?;
        }
        Ok(None)
    }
}

impl Host {
    /// Name and password as PLAIN writes them, by either mechanism.
    async fn login<S: AsyncRead + AsyncWrite + Unpin>(
        said: &str,
        stream: &mut BufReader<S>,
    ) -> std::io::Result<String> {
        let text = |coded: &str| String::from_utf8(BASE64.decode(coded.as_bytes()).unwrap()).unwrap();
        if let Some(coded) = said.strip_prefix("AUTH PLAIN ") {
            return Ok(text(coded));
        }
        assert_eq!(said, "AUTH LOGIN");
        let mut login = String::new();
        for question in ["Username:", "Password:"] {
            stream.write_all(format!("334 {}\r\n", BASE64.encode(question.as_bytes())).as_bytes()).await?;
            let mut line = String::new();
            stream.read_line(&mut line).await?;
            login.push('\0');
            login.push_str(&text(line.trim_end()));
        }
        Ok(login)
    }
}

pub async fn zone(text: &str) -> (ZoneServer, Resolver) {
    let server = ZoneServer::start(text, SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let resolver = Resolver::at(server.addr()).unwrap();
    (server, resolver)
}
