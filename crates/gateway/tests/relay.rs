//! Section C row 26: every way in which strangers have made hosts carry mail elsewhere, on a listener for other hosts and on one
//! for submission without a login.

use std::net::SocketAddr;
use std::sync::Arc;

use directory::{Directory, NewOrganisation, NewPerson, ProtectionCache};
use gateway::{Gateway, GatewayConfig, Listening, TlsStart};
use message::Authenticator;
use model::{Address, Domain};
use smtp::CancellationToken;
use testkit::{TestStore, on_both};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

const HOST: &str = "mx.contoso.example";

/// How a path elsewhere was ever written, and the reply.
const ELSEWHERE: [(&str, &str); 19] = [
    ("<eve@elsewhere.example>", "550 5.7.1"),
    ("<eve@ELSEWHERE.example>", "550 5.7.1"),
    ("<postmaster@elsewhere.example>", "550 5.7.1"),
    ("<@contoso.example:eve@elsewhere.example>", "550 5.7.1"),
    ("<@contoso.example,@mx.contoso.example:eve@elsewhere.example>", "550 5.7.1"),
    ("<eve%elsewhere.example@contoso.example>", "550 5.1.1"),
    ("<eve%elsewhere.example%contoso.example@contoso.example>", "550 5.1.1"),
    ("<elsewhere.example!eve@contoso.example>", "550 5.1.1"),
    ("<\"eve@elsewhere.example\"@contoso.example>", "550 5.1.1"),
    ("<\"eve%elsewhere.example\"@contoso.example>", "550 5.1.1"),
    ("<\"ada@contoso.example\"@elsewhere.example>", "550 5.7.1"),
    ("<ada%contoso.example@elsewhere.example>", "550 5.7.1"),
    ("<eve@contoso.example.elsewhere.example>", "550 5.7.1"),
    ("<eve@elsewherecontoso.example>", "550 5.7.1"),
    ("<eve@elsewhere.example@contoso.example>", "501 5.1.3"),
    ("<ada@contoso.example@elsewhere.example>", "501 5.1.3"),
    ("<eve@elsewhere.example:25>", "501 5.1.3"),
    ("<eve@[203.0.113.9]>", "5"),
    ("<eve@[IPv6:2001:db8::9]>", "5"),
];

async fn gateway(t: &TestStore) -> Gateway {
    let domains = vec![Domain::parse("contoso.example").unwrap()];
    let directory = Directory::create(&t.store, NewOrganisation { name: "Contoso".into(), domains }).await.unwrap();
    let ada = NewPerson {
        address: Address::parse("ada@contoso.example").unwrap(),
        name: "Ada".into(),
        department: String::new(),
        city: String::new(),
        language: String::new(),
        attributes: Default::default(),
    };
    directory.put_people(&[ada]).await.unwrap();
    let protection = ProtectionCache::start(&directory).await.unwrap();
    let authenticator = Authenticator::new(&dns::Resolver::none(), HOST);
    Gateway::new(directory, protection, authenticator, GatewayConfig::new(HOST)).await.unwrap()
}

/// A dialogue by hand.
struct Talk(BufReader<TcpStream>);

impl Talk {
    async fn with(addr: SocketAddr) -> Talk {
        let mut talk = Talk(BufReader::new(TcpStream::connect(addr).await.unwrap()));
        assert!(talk.reply().await.starts_with("220 "));
        assert!(talk.say("HELO client.example").await.starts_with("250 "));
        talk
    }

    async fn reply(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        line.trim_end().to_owned()
    }

    async fn say(&mut self, line: &str) -> String {
        self.0.get_mut().write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
        self.reply().await
    }
}

async fn stop(listening: Vec<Listening>, stop: CancellationToken) {
    stop.cancel();
    for one in listening {
        one.stopped().await;
    }
}

#[tokio::test]
async fn nobody_makes_us_carry_mail_elsewhere() {
    on_both(|t| async move {
        let gateway = gateway(&t).await;
        let cancel = CancellationToken::new();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let tls = rustls::ServerConfig::builder().with_no_client_auth();
        let tls = Arc::new(tls.with_single_cert(vec![made.cert.der().clone()], key.into()).unwrap());
        let listener = TcpListener::bind(any).await.unwrap();
        let listening = vec![
            gateway.listen(any, None, cancel.clone()).await.unwrap(),
            gateway.serve_submission(listener, tls, TlsStart::StartTls, cancel.clone()).unwrap(),
        ];

        for sender in ["<zoe@client.example>", "<ada@contoso.example>", "<>"] {
            for (path, reply) in ELSEWHERE {
                let mut talk = Talk::with(listening[0].addr).await;
                assert!(talk.say(&format!("MAIL FROM:{sender}")).await.starts_with("250 2.1.0"));
                let said = talk.say(&format!("RCPT TO:{path}")).await;
                assert!(said.starts_with(reply), "{sender} to {path}: {said}");
                let said = talk.say("DATA").await;
                assert!(said.starts_with("554 5.5.1") || said.starts_with("503 5.5.1"), "{sender} to {path}: {said}");
            }
            let mut talk = Talk::with(listening[0].addr).await;
            assert!(talk.say(&format!("MAIL FROM:{sender}")).await.starts_with("250 2.1.0"));
            let said = talk.say("RCPT TO:<@relay.example:ada@contoso.example>").await;
            assert!(said.starts_with("250 2.1.5"), "a route to us leads to us: {said}");
        }

        let mut talk = Talk::with(listening[1].addr).await;
        let said = talk.say("MAIL FROM:<ada@contoso.example>").await;
        assert!(said.starts_with("530 5.7.0"), "without a login: {said}");
        assert!(talk.say("RCPT TO:<eve@elsewhere.example>").await.starts_with("503 5.5.1"));
        drop(talk);
        let filter = outbound::QueueFilter::default();
        let organisation = Directory::open(&t.store).await.unwrap().unwrap().id();
        assert!(outbound::queue_list(&t.store, organisation, &filter).await.unwrap().is_empty());
        stop(listening, cancel).await;
    })
    .await;
}
