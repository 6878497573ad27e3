//! A fault at every step of a mail that a login hands in for people here and elsewhere: both get it, or neither, and what the
//! program was told is true.

use std::net::SocketAddr;
use std::sync::Arc;

use directory::{ClientScope, Directory, NewAccount, NewOrganisation, NewPerson, ProtectionCache};
use gateway::{Gateway, GatewayConfig, Listening, TlsStart};
use message::Authenticator;
use model::{Address, Domain, Reply, ReplyClass, Role};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use smtp::client::Credentials;
use smtp::{CancellationToken, Client, ClientConfig, Mail, TlsMode};
use store::{Failing, values};
use testkit::{Arm, TestStore, at_every_step};
use tokio::net::TcpListener;

const HOST: &str = "mx.contoso.example";
const LETTER: &str = "From: Ada <ada@contoso.example>\r\nTo: both\r\nSubject: To both\r\n\r\nHi\r\n";

/// What survives a restart: the certificate and Ada's password.
struct Staged {
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
    secret: String,
}

async fn stage(t: &TestStore) -> Staged {
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
    let login = "ada@contoso.example".to_owned();
    let person_id = directory.person_by_address(&login).await.unwrap().map(|person| person.id);
    let new = NewAccount { login, name: "Ada".into(), role: Role::Recipient, person_id, password: None };
    let account = directory.create_account(new).await.unwrap();
    let (_, secret) = directory.create_app_password(account.id, "Desk", ClientScope::ALL, None).await.unwrap();
    let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
    Staged { certificate: made.cert.der().clone(), key: made.signing_key.serialize_der(), secret }
}

struct House {
    t: TestStore,
    directory: Directory,
    listening: Listening,
    stop: CancellationToken,
}

impl House {
    async fn open(t: &TestStore, staged: &Staged) -> House {
        let directory = Directory::open(&t.store).await.unwrap().expect("the organisation");
        let protection = ProtectionCache::start(&directory).await.unwrap();
        let authenticator = Authenticator::new(&dns::Resolver::none(), HOST);
        let mut config = GatewayConfig::new(HOST);
        config.server.login_delay_ms = 0;
        let gateway = Gateway::new(directory.clone(), protection, authenticator, config).await.unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(staged.key.clone()));
        let tls = rustls::ServerConfig::builder().with_no_client_auth();
        let tls = Arc::new(tls.with_single_cert(vec![staged.certificate.clone()], key).unwrap());
        let stop = CancellationToken::new();
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let listening = gateway.serve_submission(listener, tls, TlsStart::StartTls, stop.clone()).unwrap();
        House { t: t.clone(), directory, listening, stop }
    }

    /// What was said at the end; `None` when it did not come so far.
    async fn submit(&self, staged: &Staged) -> Option<Reply> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(staged.certificate.clone()).unwrap();
        let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let tls = TlsMode::Required { config: Arc::new(tls), server_name: ServerName::try_from(HOST).unwrap() };
        let (username, password) = ("ada@contoso.example".to_owned(), staged.secret.clone());
        let credentials = Some(Credentials { username, password });
        let config = ClientConfig { tls, credentials, ..ClientConfig::new("desk.example") };
        let mut client = Client::connect(self.listening.addr, config).await.ok()?;
        let recipients: Vec<Address> =
            ["bob@contoso.example", "eve@fabrikam.example"].iter().map(|to| to.parse().unwrap()).collect();
        let mail = Mail { reverse_path: &"ada@contoso.example".parse().unwrap(), recipients: &recipients };
        let outcome = client.send(&mail, LETTER.as_bytes()).await.ok()?;
        client.quit().await;
        // One of the two that is put off at RCPT is not in this mail.
        let is_for_both = outcome.recipients.iter().all(|(_, reply)| reply.class() == ReplyClass::Completion);
        outcome.data.filter(|_| is_for_both)
    }

    /// How often Bob has it, and how often it is on its way to Eve.
    async fn found(&self) -> (usize, usize) {
        let to = self.directory.recipient(&"bob@contoso.example".parse().unwrap()).await.unwrap().unwrap();
        let page = values![to.mailbox_id, to.inbox_id, i64::MAX, i64::MAX, 100_i64];
        let here = self.t.store.query("mailbox.items", &page).await.unwrap().len();
        let filter = outbound::QueueFilter::default();
        let queue = outbound::queue_list(&self.t.store, self.directory.id(), &filter).await.unwrap();
        (here, queue.len())
    }

    async fn close(self) {
        self.stop.cancel();
        self.listening.stopped().await;
    }
}

#[tokio::test]
async fn a_mail_to_both_kinds_is_for_both_or_for_nobody() {
    let act = async |t: &TestStore, staged: &Staged, arm: Arm| {
        let house = House::open(t, staged).await;
        arm.now();
        let said = house.submit(staged).await;
        t.faults.disarm();
        house.close().await;
        said
    };
    let runs = at_every_step(&Failing::ALL, stage, act, async |t, staged, said, fault| {
        let house = House::open(t, staged).await;
        let is_taken = said.as_ref().is_some_and(|reply| reply.class() == ReplyClass::Completion);
        match said {
            Some(reply) => {
                assert!(matches!(reply.class(), ReplyClass::Completion | ReplyClass::Transient), "{fault}: {reply}");
                let expected = usize::from(is_taken);
                assert_eq!(house.found().await, (expected, expected), "{fault}: {reply}");
            }
            // It did not come to DATA for both: at most one of them was in that mail.
            None => assert!(house.found().await.0 + house.found().await.1 <= 1, "{fault}"),
        }
        if house.found().await == (0, 0) {
            let again = house.submit(staged).await.expect("somebody is there");
            assert_eq!(again.code(), 250, "{fault}: {again}");
            assert_eq!(house.found().await, (1, 1), "{fault}: once for each");
        }
        house.close().await;
    })
    .await;
    assert!(runs > 40, "{runs} faults in all");
}
