//! Submission and LMTP over real sockets, on both databases.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use directory::{ClientScope, Directory, NewAccount, NewOrganisation, NewPerson, ProtectionCache};
use gateway::{Gateway, GatewayConfig, Listening, RateLimits, TlsStart};
use message::Authenticator;
use model::{Address, AuthResult, BodyType, ClientInfo, Domain, Envelope, Reply, Role};
use outbound::{Agent, AgentConfig, Routes};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use smtp::client::{Credentials, LmtpClient, LmtpFate, MailOptions, RecipientOptions};
use smtp::{CancellationToken, Client, ClientConfig, ClientError, Handler, Mail, Server, ServerConfig, TlsMode};
use store::{BodyRef, values};
use testkit::{TestStore, on_both, sqlite};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::Notify;

const HOST: &str = "mx.contoso.example";
const WAIT: Duration = Duration::from_secs(30);
const LETTER: &[u8] =
    b"From: Ada <ada@contoso.example>\r\nTo: someone\r\nSubject: Hello\r\nBcc: hidden@x.example\r\n\r\nHi\r\n";

/// A gateway for contoso.example with Ada, Bob and their app passwords.
struct House {
    store: store::Store,
    directory: Directory,
    submission: SocketAddr,
    lmtp: SocketAddr,
    listening: Vec<Listening>,
    stop: CancellationToken,
    client_tls: Arc<rustls::ClientConfig>,
    ada: String,
    bob: String,
}

fn tls() -> (Arc<rustls::ServerConfig>, Arc<rustls::ClientConfig>) {
    let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
    let certificate: CertificateDer<'static> = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let server = rustls::ServerConfig::builder().with_no_client_auth();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let client = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    (Arc::new(server.with_single_cert(vec![certificate], key).unwrap()), Arc::new(client))
}

async fn bound() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

impl House {
    async fn build(t: &TestStore, rates: RateLimits) -> House {
        let domains = vec![Domain::parse("contoso.example").unwrap()];
        let directory = Directory::create(&t.store, NewOrganisation { name: "Contoso".into(), domains }).await.unwrap();
        let person = |name: &str| NewPerson {
            address: Address::parse(&format!("{name}@contoso.example")).unwrap(),
            name: name.into(),
            department: String::new(),
            city: String::new(),
            language: String::new(),
            attributes: Default::default(),
        };
        directory.put_people(&[person("ada"), person("bob")]).await.unwrap();
        let mut secrets = Vec::new();
        for (name, role) in [("ada", Role::Recipient), ("bob", Role::Owner)] {
            let address = format!("{name}@contoso.example");
            let person_id = directory.person_by_address(&address).await.unwrap().map(|p| p.id);
            let new = NewAccount { login: address, name: name.into(), role, person_id, password: None };
            let account = directory.create_account(new).await.unwrap();
            secrets.push(directory.create_app_password(account.id, "Desk", ClientScope::ALL, None).await.unwrap().1);
        }
        let ada = directory.person_by_address("ada@contoso.example").await.unwrap().unwrap();
        directory.put_alias(&Address::parse("a.byron@contoso.example").unwrap(), ada.id).await.unwrap();
        let key = message::dkim::DkimKey::generate_ed25519().unwrap();
        directory.put_secret("dkim", "s1._domainkey.contoso.example", &key.to_pem()).await.unwrap();
        let protection = ProtectionCache::start(&directory).await.unwrap();
        let mut config = GatewayConfig::new(HOST);
        config.rates = rates;
        config.server.login_delay_ms = 0;
        let authenticator = Authenticator::new(&dns::Resolver::none(), HOST);
        let gateway = Gateway::new(directory.clone(), protection, authenticator, config).await.unwrap();
        let (server_tls, client_tls) = tls();
        let stop = CancellationToken::new();
        let listening = vec![
            gateway.serve_submission(bound().await, server_tls.clone(), TlsStart::StartTls, stop.clone()).unwrap(),
            gateway.serve_lmtp(bound().await, None, stop.clone()).unwrap(),
        ];
        let (submission, lmtp) = (listening[0].addr, listening[1].addr);
        let (bob, ada) = (secrets.pop().unwrap(), secrets.pop().unwrap());
        House { store: t.store.clone(), directory, submission, lmtp, listening, stop, client_tls, ada, bob }
    }

    async fn client(&self, username: &str, password: &str) -> Result<Client, ClientError> {
        let server_name = ServerName::try_from(HOST).unwrap();
        let tls = TlsMode::Required { config: self.client_tls.clone(), server_name };
        let credentials = Some(Credentials { username: username.into(), password: password.into() });
        Client::connect(self.submission, ClientConfig { tls, credentials, ..ClientConfig::new("desk.example") }).await
    }

    /// What was said to each recipient and at the end.
    async fn send(&self, client: &mut Client, from: &str, to: &[&str], body: &[u8]) -> Vec<String> {
        let recipients: Vec<Address> = to.iter().map(|to| to.parse().unwrap()).collect();
        let mail = Mail { reverse_path: &from.parse().unwrap(), recipients: &recipients };
        let outcome = client.send(&mail, body).await.unwrap();
        let said = outcome.recipients.iter().map(|(_, reply)| reply).chain(&outcome.data);
        said.map(|reply| reply.to_string().chars().take(9).collect()).collect()
    }

    async fn inbox(&self, address: &str) -> Vec<String> {
        let to = self.directory.recipient(&address.parse().unwrap()).await.unwrap().unwrap();
        let page = values![to.mailbox_id, to.inbox_id, i64::MAX, i64::MAX, 100_i64];
        let rows = self.store.query("mailbox.items", &page).await.unwrap();
        rows.iter().map(|row| row.text("subject").unwrap().to_owned()).collect()
    }

    async fn stop(self) {
        self.stop.cancel();
        for listening in self.listening {
            listening.stopped().await;
        }
    }
}

#[tokio::test]
async fn mail_of_a_login_goes_to_us_and_to_others() {
    on_both(|t| async move {
        let house = House::build(&t, RateLimits::default()).await;
        let mut client = house.client("ada@contoso.example", &house.ada).await.unwrap();
        let to = ["bob@contoso.example", "eve@fabrikam.example", "nobody@contoso.example"];
        let said = house.send(&mut client, "ada@contoso.example", &to, LETTER).await;
        assert_eq!(said, ["250 2.1.5", "250 2.1.5", "550 5.1.1", "250 2.0.0"]);
        assert_eq!(house.inbox("bob@contoso.example").await, ["Hello"]);
        let queue = outbound::queue_list(&house.store, house.directory.id(), &outbound::QueueFilter::default()).await;
        let queue = queue.unwrap();
        assert_eq!(queue.len(), 1);
        let row = house.store.query_one("message.by_id", &values![queue[0].message_id]).await.unwrap();
        let sent = house.store.body(&BodyRef::from_row(&row.unwrap()).unwrap()).await.unwrap();
        let sent = String::from_utf8_lossy(&sent);
        for has in ["DKIM-Signature: ", "with ESMTPSA id ", "\r\nDate: ", "\r\nMessage-ID: <", "\r\nSubject: Hello\r\n"]
        {
            assert!(sent.contains(has), "{has:?} in {sent}");
        }
        assert!(!sent.contains("hidden@x.example") && !sent.contains("Authentication-Results"), "{sent}");
        house.stop().await;
    })
    .await;
}

/// Section C rows 26 and 27.
#[tokio::test]
async fn nobody_sends_as_somebody_else_or_without_a_login() {
    on_both(|t| async move {
        let house = House::build(&t, RateLimits::default()).await;
        for (login, secret) in
            [("ada@contoso.example", "wrong"), ("nobody@contoso.example", house.ada.as_str()), ("' OR 1=1", "x")]
        {
            let refused = house.client(login, secret).await.map(|_| ());
            assert!(matches!(&refused, Err(ClientError::AuthRefused(reply)) if reply.code() == 535), "{refused:?}");
        }
        let mut ada = house.client("A.Byron@contoso.example", &house.ada).await.unwrap();
        let to = ["eve@fabrikam.example"];
        assert_eq!(house.send(&mut ada, "a.byron@contoso.example", &to, LETTER).await, ["250 2.1.5", "250 2.0.0"]);
        assert_eq!(house.send(&mut ada, "", &to, LETTER).await, ["250 2.1.5", "250 2.0.0"], "a receipt");
        assert_eq!(house.send(&mut ada, "bob@contoso.example", &to, LETTER).await, ["550 5.7.1"]);
        assert_eq!(house.send(&mut ada, "ada@fabrikam.example", &to, LETTER).await, ["550 5.7.1"]);
        let spoofed = String::from_utf8_lossy(LETTER).replace("ada@contoso", "bob@contoso");
        let said = house.send(&mut ada, "ada@contoso.example", &to, spoofed.as_bytes()).await;
        assert_eq!(said, ["250 2.1.5", "550 5.7.1"]);
        let said = house.send(&mut ada, "ada@contoso.example", &to, b"Subject: no From\r\n\r\nx\r\n").await;
        assert_eq!(said, ["250 2.1.5", "550 5.6.0"]);
        let near = ["x@[127.0.0.1]", "x@[IPv6:::1]", "x@[IPv6:::ffff:127.0.0.1]"];
        let said = house.send(&mut ada, "ada@contoso.example", &near, LETTER).await;
        assert_eq!(
            said,
            ["550 5.1.2", "550 5.1.2", "550 5.1.2"],
            "what listens on this machine is not theirs to speak to"
        );
        let mut owner = house.client("bob@contoso.example", &house.bob).await.unwrap();
        let said = house.send(&mut owner, "ada@contoso.example", &to, LETTER).await;
        assert_eq!(said, ["250 2.1.5", "250 2.0.0"], "with the permission");
        assert_eq!(house.send(&mut owner, "ada@fabrikam.example", &to, LETTER).await, ["550 5.7.1"]);
        house.stop().await;
    })
    .await;
}

/// The client here prefers SCRAM, as many do, and falls back to nothing.
#[tokio::test]
async fn a_program_that_prefers_scram_gets_in_with_either_password() {
    const OWN: &str = "correct horse battery";
    on_both(|t| async move {
        let house = House::build(&t, RateLimits::default()).await;
        let account = house.directory.client_account_id("ada@contoso.example").await.unwrap().unwrap();
        house.directory.change_password(account, "", OWN).await.unwrap();
        for password in [OWN, house.ada.as_str()] {
            let mut client = house.client("ada@contoso.example", password).await.unwrap();
            let to = ["bob@contoso.example"];
            let said = house.send(&mut client, "ada@contoso.example", &to, LETTER).await;
            assert_eq!(said, ["250 2.1.5", "250 2.0.0"]);
        }
        let refused = house.client("ada@contoso.example", "correct horse").await.map(|_| ());
        assert!(matches!(&refused, Err(ClientError::AuthRefused(reply)) if reply.code() == 535), "{refused:?}");
        house.stop().await;
    })
    .await;
}

/// Section C row 45.
#[tokio::test]
async fn a_login_has_its_rates() {
    let rates =
        RateLimits { login_messages_per_minute_max: 2, login_recipients_per_hour_max: 3, ..RateLimits::default() };
    let t = sqlite().await;
    let house = House::build(&t, rates).await;
    let mut client = house.client("ada@contoso.example", &house.ada).await.unwrap();
    let to = ["a@fabrikam.example", "b@fabrikam.example"];
    let said = house.send(&mut client, "ada@contoso.example", &to, LETTER).await;
    assert_eq!(said, ["250 2.1.5", "250 2.1.5", "250 2.0.0"]);
    let said = house.send(&mut client, "ada@contoso.example", &to, LETTER).await;
    assert_eq!(said, ["250 2.1.5", "452 4.7.1", "250 2.0.0"]);
    assert_eq!(house.send(&mut client, "ada@contoso.example", &to, LETTER).await, ["450 4.7.1", "450 4.7.1"]);
    house.stop().await;
}

/// Section C row 47.
#[tokio::test]
async fn lmtp_answers_for_each_recipient() {
    on_both(|t| async move {
        let house = House::build(&t, RateLimits::default()).await;
        let mut client = LmtpClient::connect(house.lmtp, ClientConfig::new("mta.example")).await.unwrap();
        let to = ["ada@contoso.example", "nobody@contoso.example", "bob@contoso.example", "eve@fabrikam.example"];
        let recipients: Vec<Address> = to.iter().map(|to| to.parse().unwrap()).collect();
        let mail = Mail { reverse_path: &"eve@fabrikam.example".parse().unwrap(), recipients: &recipients };
        let fates = client.send(&mail, b"From: eve@fabrikam.example\r\nSubject: By LMTP\r\n\r\nHi\r\n").await.unwrap();
        let said: Vec<u16> = fates
            .iter()
            .map(|fate| match fate {
                LmtpFate::Reply(reply) => reply.code(),
                LmtpFate::Unclear(text) => panic!("{text}"),
            })
            .collect();
        assert_eq!(said, [250, 550, 250, 550]);
        client.quit().await;
        for address in ["ada@contoso.example", "bob@contoso.example"] {
            assert_eq!(house.inbox(address).await, ["By LMTP"]);
        }
        house.stop().await;
    })
    .await;
}

/// A host elsewhere, that keeps what it gets.
#[derive(Default)]
struct Elsewhere {
    kept: Mutex<Vec<Envelope>>,
    arrived: Notify,
}

impl Handler for Elsewhere {
    async fn rcpt(&self, _envelope: &Envelope, _recipient: &Address) -> Result<(), Reply> {
        Ok(())
    }

    async fn data(&self, envelope: Envelope, _body: Vec<u8>) -> Reply {
        self.kept.lock().unwrap().push(envelope);
        self.arrived.notify_one();
        Reply::ok(250, (0, 0), "kept")
    }
}

/// RFC 3461: what was asked for goes along to the host that gets the mail, through the queue.
#[tokio::test]
async fn what_a_sender_asks_for_goes_along() {
    on_both(|t| async move {
        let house = House::build(&t, RateLimits::default()).await;
        let (elsewhere, listener) = (Arc::new(Elsewhere::default()), bound().await);
        let addr = listener.local_addr().unwrap();
        let far = Server::new(ServerConfig::new("mx.fabrikam.example"), None, elsewhere.clone());
        let stop = house.stop.clone();
        let serving = tokio::spawn(async move { far.serve(listener, stop).await });
        let routes = Routes::new(dns::Resolver::none()).with_static("fabrikam.example", addr);
        let agent = Agent::start(t.store.clone(), AgentConfig::new(HOST), routes, house.stop.clone()).await.unwrap();

        let mut client = house.client("ada@contoso.example", &house.ada).await.unwrap();
        let recipients: Vec<Address> = vec!["eve@fabrikam.example".parse().unwrap()];
        let mail = Mail { reverse_path: &"ada@contoso.example".parse().unwrap(), recipients: &recipients };
        let of_eve = RecipientOptions { notify: "SUCCESS,DELAY", orcpt: "rfc822;e+2Be@fabrikam.example" };
        let options = MailOptions { ret: "HDRS", envid: "QQ+2B1", recipients: &[of_eve], ..MailOptions::default() };
        let outcome = client.send_with(&mail, &options, LETTER).await.unwrap();
        assert_eq!(outcome.data.unwrap().code(), 250);
        tokio::time::timeout(WAIT, elsewhere.arrived.notified()).await.expect("it arrives");
        let envelope = elsewhere.kept.lock().unwrap()[0].clone();
        assert_eq!((envelope.options.ret.as_str(), envelope.options.envid.as_str()), ("HDRS", "QQ+2B1"));
        assert_eq!(envelope.rcpt_options[0].notify, "SUCCESS,DELAY");
        assert_eq!(envelope.rcpt_options[0].orcpt, "rfc822;e+2Be@fabrikam.example");
        house.stop().await;
        agent.stopped().await;
        serving.await.unwrap();
    })
    .await;
}

/// A host of before 1994: it knows no extension. It gives what it takes.
async fn old_host() -> (SocketAddr, tokio::sync::mpsc::UnboundedReceiver<Vec<u8>>) {
    let (listener, (kept, taken)) = (bound().await, tokio::sync::mpsc::unbounded_channel());
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (mut stream, mut line, mut body) = (BufReader::new(stream), String::new(), None::<Vec<u8>>);
            stream.write_all(b"220 old.example\r\n").await?;
            while stream.read_line(&mut line).await? > 0 {
                let answer = match (line.as_str(), &mut body) {
                    (".\r\n", slot @ Some(_)) => {
                        let _ = kept.send(slot.take().unwrap_or_default());
                        "250 kept\r\n"
                    }
                    (text, Some(body)) => {
                        body.extend_from_slice(text.strip_prefix('.').unwrap_or(text).as_bytes());
                        ""
                    }
                    ("DATA\r\n", slot @ None) => {
                        *slot = Some(Vec::new());
                        "354 go on\r\n"
                    }
                    (text, None) if text.starts_with("EHLO") => "502 what?\r\n",
                    (_, None) => "250 ok\r\n",
                };
                stream.write_all(answer.as_bytes()).await?;
                line.clear();
            }
        }
        std::io::Result::Ok(())
    });
    (addr, taken)
}

/// RFC 6376 5.3: what comes with 8 bits is signed in 7, so that it gets everywhere and its signature holds there. What
/// somebody else signed stays as it is, and comes back where it cannot go.
#[tokio::test]
async fn what_is_signed_here_holds_at_a_host_of_seven_bits() {
    const EIGHT_BITS: &str = "From: Zoë <ada@contoso.example>\r\nTo: Größen: eve@fabrikam.example;\r\nSubject: Grüße\r\n\
        MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\
        Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nSchöne Grüße an alle, die das hier lesen\r\n--b\r\n\
        Content-Type: image/png; name=\"Größe.png\"\r\nContent-Transfer-Encoding: 8bit\r\n\r\nüüü\r\n--b--\r\n";
    on_both(|t| async move {
        let house = House::build(&t, RateLimits::default()).await;
        let (name, pem) = house.directory.secret("dkim").await.unwrap().unwrap();
        let record = message::dkim::DkimKey::from_pem(&pem).unwrap().txt_record();
        let zone = format!("{name} TXT \"{record}\"\n");
        let zone = dns::ZoneServer::start(&zone, SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let (addr, mut taken) = old_host().await;
        let routes = Routes::new(dns::Resolver::none());
        let routes = routes.with_static("fabrikam.example", addr).with_static("contoso.example", addr);
        let agent = Agent::start(t.store.clone(), AgentConfig::new(HOST), routes, house.stop.clone()).await.unwrap();

        let mut client = house.client("ada@contoso.example", &house.ada).await.unwrap();
        let to = ["eve@fabrikam.example", "bob@contoso.example"];
        let said = house.send(&mut client, "ada@contoso.example", &to, EIGHT_BITS.as_bytes()).await;
        assert_eq!(said.last().unwrap(), "250 2.0.0");
        let body = tokio::time::timeout(WAIT, taken.recv()).await.expect("it arrives").unwrap();
        let text = String::from_utf8(body.clone()).unwrap();
        assert!(text.is_ascii(), "{text}");
        for part in [
            "Subject: =?utf-8?B?",
            "Sch=C3=B6ne Gr=C3=BC=C3=9Fe an alle",
            "name*=utf-8''Gr%C3%B6%C3%9Fe.png",
            "w7zDvMO8",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let checker = Authenticator::new(&dns::Resolver::at(zone.addr()).unwrap(), "mx.fabrikam.example");
        let envelope = Envelope {
            reverse_path: "ada@contoso.example".parse().unwrap(),
            forward_paths: vec!["eve@fabrikam.example".parse().unwrap()],
            body_type: BodyType::SevenBit,
            declared_size_bytes: None,
            options: Default::default(),
            rcpt_options: Vec::new(),
            client: ClientInfo {
                ip: "127.0.0.1".parse().unwrap(),
                helo: HOST.into(),
                esmtp: true,
                tls: None,
                lmtp: false,
                login: None,
            },
        };
        let checked = checker.authenticate(&body, &envelope, WAIT).await;
        assert_eq!(checked.dkim.iter().map(|dkim| dkim.result).collect::<Vec<_>>(), [AuthResult::Pass], "{text}");
        assert_eq!(house.inbox("bob@contoso.example").await, ["Grüße"]);

        let signed = EIGHT_BITS.replace("multipart/mixed", "multipart/signed");
        let said = house.send(&mut client, "ada@contoso.example", &to[..1], signed.as_bytes()).await;
        assert_eq!(said.last().unwrap(), "250 2.0.0");
        let told = tokio::time::timeout(WAIT, taken.recv()).await.expect("Ada is told").unwrap();
        let told = String::from_utf8(told).unwrap();
        assert!(told.contains("To: ada@contoso.example") && told.contains("Status: 5.6.3"), "{told}");
        house.stop().await;
        agent.stopped().await;
    })
    .await;
}
