//! The client against the server, and each against peers that misbehave, over 127.0.0.1.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::{Address, BodyType, Envelope, Reply, ReplyClass, ReversePath};
use smtp::client::Timeouts;
use smtp::server::{ConnectionEnd, serve_connection};
use smtp::{
    CancellationToken, Client, ClientConfig, ClientError, Handler, Mail, Outcome, Phase, ServerConfig, Session, TlsMode,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::common::{self, Running};

/// Keeps what comes; refuses `nobody`, panics for `panic`, and waits for a permit for `slow`.
#[derive(Debug)]
struct Keeper {
    kept: Mutex<Vec<(Envelope, Vec<u8>)>>,
    has_begun: Semaphore,
    may_end: Semaphore,
}

impl Keeper {
    fn new() -> Arc<Self> {
        Arc::new(Keeper { kept: Mutex::default(), has_begun: Semaphore::new(0), may_end: Semaphore::new(0) })
    }

    fn kept(&self) -> Vec<(Envelope, Vec<u8>)> {
        self.kept.lock().unwrap().clone()
    }
}

impl Handler for Keeper {
    async fn rcpt(&self, _envelope: &Envelope, recipient: &Address) -> Result<(), Reply> {
        match recipient.local() {
            "nobody" => Err(Reply::permanent(550, (1, 1), "no such user")),
            "panic" => panic!("asked to"),
            _ => Ok(()),
        }
    }

    async fn data(&self, envelope: Envelope, body: Vec<u8>) -> Reply {
        if envelope.forward_paths[0].local() == "slow" {
            self.has_begun.add_permits(1);
            self.may_end.acquire().await.expect("never closed").forget();
        }
        self.kept.lock().unwrap().push((envelope, body));
        Reply::ok(250, (0, 0), "kept")
    }
}

fn address(text: &str) -> Address {
    text.parse().expect("an address")
}

async fn send(client: &mut Client, to: &[&str], body: &[u8]) -> Result<Outcome, ClientError> {
    let reverse_path = ReversePath::Address(address("a@client.example"));
    let recipients: Vec<Address> = to.iter().map(|to| address(to)).collect();
    client.send(&Mail { reverse_path: &reverse_path, recipients: &recipients }, body).await
}

fn config() -> ClientConfig {
    ClientConfig::new("client.example")
}

async fn connect(addr: SocketAddr) -> Client {
    Client::connect(addr, config()).await.expect("a greeting")
}

async fn keeper_server(config: ServerConfig) -> (Arc<Keeper>, Running) {
    let keeper = Keeper::new();
    let server = common::start(config, None, keeper.clone()).await;
    (keeper, server)
}

/// Waits for something that another task does, at most half a minute.
async fn eventually(mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), waiting).await.expect("it never came true");
}

#[tokio::test]
async fn a_hundred_mails_on_one_connection() {
    let (keeper, server) = keeper_server(ServerConfig::new("mx.example")).await;
    let mut client = connect(server.addr).await;
    assert!(client.capabilities().pipelining);
    for number in 0..100 {
        let body = format!("Subject: {number}\n\n.dot\nend");
        let outcome = send(&mut client, &["ada@example.org", "nobody@example.org"], body.as_bytes()).await.unwrap();
        let codes: Vec<_> = outcome.recipients.iter().map(|(_, reply)| reply.code()).collect();
        assert_eq!((codes, outcome.data.unwrap().code()), (vec![250, 550], 250));
    }
    client.quit().await;
    let kept = keeper.kept();
    assert_eq!(kept.len(), 100);
    for (number, (envelope, body)) in kept.iter().enumerate() {
        assert_eq!(*body, format!("Subject: {number}\r\n\r\n.dot\r\nend\r\n").into_bytes());
        assert_eq!(envelope.forward_paths, [address("ada@example.org")]);
        assert_eq!((envelope.client.helo.as_str(), envelope.client.esmtp), ("client.example", true));
    }
    assert_eq!(server.stats.accepted_count.load(Ordering::Relaxed), 1);
    server.stop().await;
}

#[tokio::test]
async fn refusals_leave_the_connection_usable() {
    let mut limits = ServerConfig::new("mx.example");
    limits.size_bytes_max = 1000;
    let (keeper, server) = keeper_server(limits).await;
    let mut client = connect(server.addr).await;
    let outcome = send(&mut client, &["nobody@example.org"], b"x").await.unwrap();
    assert_eq!((outcome.recipients[0].1.code(), outcome.data), (550, None));
    // MAIL is refused for its SIZE: that reply stands for every recipient.
    let outcome = send(&mut client, &["ada@example.org", "grace@example.org"], &[b'x'; 2000]).await.unwrap();
    let codes: Vec<_> = outcome.recipients.iter().map(|(_, reply)| reply.code()).collect();
    assert_eq!((codes, outcome.data), (vec![552, 552], None));
    client.reset().await.unwrap();
    // More recipients than one pipelined group has room for.
    let many: Vec<String> = (0..250).map(|number| format!("p{number}@example.org")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let outcome = send(&mut client, &many, "größer".as_bytes()).await.unwrap();
    assert_eq!((outcome.recipients.len(), outcome.data.unwrap().code()), (250, 250));
    let (envelope, body) = &keeper.kept()[0];
    assert_eq!((envelope.forward_paths.len(), envelope.body_type), (250, BodyType::EightBitMime));
    assert_eq!(body, "größer\r\n".as_bytes());
    server.stop().await;
}

#[tokio::test]
async fn large_bodies_arrive_whole() {
    let (server_tls, client_tls) = common::tls();
    let keeper = Keeper::new();
    let server = common::start(ServerConfig::new("mx.example"), Some(server_tls), keeper.clone()).await;
    // No header section: that has a bound of its own.
    let canonical: Vec<u8> = [b"\r\n".to_vec(), b"0123456789 the quick brown fox\r\n".repeat(100_000)].concat();
    let dotted: Vec<u8> = [b"\r\n".to_vec(), b".leading\n..dots\r\n".repeat(50_000)].concat();
    for tls in [TlsMode::Off, TlsMode::Required { config: client_tls, server_name: common::server_name() }] {
        let mut client = Client::connect(server.addr, ClientConfig { tls, ..config() }).await.unwrap();
        for body in [&canonical, &dotted] {
            let outcome = send(&mut client, &["ada@example.org"], body).await.unwrap();
            assert_eq!(outcome.data.unwrap().code(), 250);
            let (_, kept) = keeper.kept.lock().unwrap().pop().unwrap();
            assert!(kept == *smtp::data::canonical_newlines(body), "{} bytes arrived otherwise", body.len());
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn tls() {
    let (server_tls, client_tls) = common::tls();
    let keeper = Keeper::new();
    let server = common::start(ServerConfig::new("mx.example"), Some(server_tls), keeper.clone()).await;
    let required = |name| TlsMode::Required { config: client_tls.clone(), server_name: name };
    let tls = required(common::server_name());
    let mut client = Client::connect(server.addr, ClientConfig { tls, ..config() }).await.unwrap();
    assert_eq!(client.tls().unwrap().version, "TLSv1.3");
    assert!(!client.capabilities().starttls, "it is not offered twice");
    send(&mut client, &["ada@example.org"], b"secret").await.unwrap();
    assert_eq!(keeper.kept()[0].0.client.tls.as_ref().unwrap().version, "TLSv1.3");

    let tls = required("other.example".try_into().unwrap());
    let refused = Client::connect(server.addr, ClientConfig { tls, ..config() }).await;
    assert!(matches!(refused, Err(ClientError::Tls(_))), "{refused:?}");
    server.stop().await;

    let (_, server) = keeper_server(ServerConfig::new("mx.example")).await;
    let tls = required(common::server_name());
    let refused = Client::connect(server.addr, ClientConfig { tls, ..config() }).await;
    assert!(matches!(refused, Err(ClientError::TlsUnavailable)), "{refused:?}");
    let tls = TlsMode::Opportunistic { config: client_tls, server_name: common::server_name() };
    let client = Client::connect(server.addr, ClientConfig { tls, ..config() }).await.unwrap();
    assert_eq!(client.tls(), None);
    server.stop().await;
}

#[tokio::test]
async fn a_panic_is_one_451_and_nothing_else() {
    let (keeper, server) = keeper_server(ServerConfig::new("mx.example")).await;
    let mut other = connect(server.addr).await;
    let mut client = connect(server.addr).await;
    let outcome = send(&mut client, &["panic@example.org", "ada@example.org"], b"x").await.unwrap();
    let codes: Vec<_> = outcome.recipients.iter().map(|(_, reply)| reply.code()).collect();
    assert_eq!((codes, outcome.data.unwrap().code()), (vec![451, 250], 250));
    send(&mut other, &["grace@example.org"], b"y").await.unwrap();
    assert_eq!(keeper.kept().len(), 2);
    let stats = server.stats.clone();
    client.quit().await;
    eventually(|| stats.panic_count.load(Ordering::Relaxed) == 1).await;
    server.stop().await;
}

#[tokio::test]
async fn too_many_connections() {
    for is_per_ip in [true, false] {
        let mut limits = ServerConfig::new("mx.example");
        match is_per_ip {
            true => limits.connections_per_ip_max = 1,
            false => limits.connections_max = 1,
        }
        let (_, server) = keeper_server(limits).await;
        let first = connect(server.addr).await;
        match Client::connect(server.addr, config()).await {
            Err(ClientError::Closed { phase: Phase::Greeting, reply }) => assert_eq!(reply.code(), 421),
            other => panic!("{other:?}"),
        }
        first.quit().await;
        eventually(|| server.stats.open_count.load(Ordering::Acquire) == 0).await;
        connect(server.addr).await.quit().await;
        assert_eq!(server.stats.refused_count.load(Ordering::Relaxed), 1);
        server.stop().await;
    }
}

#[tokio::test]
async fn shutdown_lets_a_transaction_end_and_an_idle_client_go() {
    let (keeper, server) = keeper_server(ServerConfig::new("mx.example")).await;
    let mut idle = connect(server.addr).await;
    let mut busy = connect(server.addr).await;
    let sending = tokio::spawn(async move { send(&mut busy, &["slow@example.org"], b"x").await });
    keeper.has_begun.acquire().await.unwrap().forget();
    let stopping = tokio::spawn(server.stop());
    match idle.reset().await {
        Err(ClientError::Closed { reply, .. }) => assert_eq!(reply.code(), 421),
        other => panic!("{other:?}"),
    }
    keeper.may_end.add_permits(1);
    assert_eq!(sending.await.unwrap().unwrap().data.unwrap().code(), 250);
    stopping.await.unwrap();
}

/// How long the server stays, by its clock, with a client that says this and then holds its end open.
async fn stays_for(said: &str) -> Duration {
    let (mut client, stream) = tokio::io::duplex(4_096);
    let session = Session::new(Arc::new(ServerConfig::new("mx.example")), [127, 0, 0, 1].into());
    let began = tokio::time::Instant::now();
    let serving = tokio::spawn(async move {
        serve_connection(stream, session, None, &*Keeper::new(), &CancellationToken::new()).await
    });
    read_line(&mut client).await;
    client.write_all(said.as_bytes()).await.unwrap();
    let (end, _) = serving.await.unwrap();
    assert!(matches!(end, ConnectionEnd::Closed), "{end:?}");
    let mut heard = String::new();
    client.read_to_string(&mut heard).await.unwrap();
    assert!(heard.contains("221 "), "{heard}");
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn who_says_quit_and_nothing_more_is_not_waited_for() {
    assert_eq!(stays_for("QUIT\r\n").await, Duration::ZERO);
    assert!(stays_for("QUIT\r\nNOOP\r\n").await > Duration::ZERO, "whoever talks on hears the reply first");
}

#[tokio::test]
async fn slow_clients_are_told_and_left() {
    let mut limits = ServerConfig::new("mx.example");
    limits.command_deadline_ms = 50;
    limits.data_grace_ms = 50;
    limits.data_rate_min = 1_000_000;
    let (keeper, server) = keeper_server(limits).await;
    let hello = "EHLO c\r\n";
    let begun = "MAIL FROM:<>\r\nRCPT TO:<ada@example.org>\r\nDATA\r\n";
    for parts in [&[][..], &["NO"], &[hello, begun], &[hello, begun, "half a body\r\n.\r"]] {
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        for part in parts {
            // The last line of what came so far is a reply, so this part is not early.
            read_line(&mut stream).await;
            stream.write_all(part.as_bytes()).await.unwrap();
        }
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        assert!(said.ends_with("421 4.4.2 timeout\r\n"), "{parts:?}: {said}");
    }
    assert_eq!(keeper.kept(), []);
    server.stop().await;
}

async fn read_line(stream: &mut (impl AsyncRead + Unpin)) {
    let mut buffer = [0; 2048];
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n") {
        let count = stream.read(&mut buffer).await.unwrap();
        assert!(count > 0, "closed after {:?}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&buffer[..count]);
    }
}

/// A host that says `greeting`, then for each pair waits until the client's bytes end so, and says the other; then
/// it closes. It gives everything that it heard.
async fn host(
    greeting: &'static str,
    script: &'static [(&'static str, &'static str)],
) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let hearing = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(greeting.as_bytes()).await.unwrap();
        let (mut heard, mut buffer) = (String::new(), [0; 4096]);
        for (until, answer) in script {
            while !heard.ends_with(until) {
                match stream.read(&mut buffer).await.unwrap() {
                    0 => return heard,
                    count => heard.push_str(&String::from_utf8_lossy(&buffer[..count])),
                }
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        heard
    });
    (addr, hearing)
}

const PIPELINING: &str = "250-h\r\n250 PIPELINING\r\n";

async fn send_to(
    script: &'static [(&'static str, &'static str)],
    to: &[&str],
    body: &[u8],
) -> (Result<Outcome, ClientError>, bool, String) {
    let (addr, hearing) = host("220 h\r\n", script).await;
    let mut client = connect(addr).await;
    let sent = send(&mut client, to, body).await;
    let is_usable = client.is_usable();
    drop(client);
    (sent, is_usable, hearing.await.unwrap())
}

#[tokio::test]
async fn an_unclear_end_is_told_apart() {
    let to = ["ada@example.org"];
    let (sent, is_usable, _) = send_to(
        &[("EHLO client.example\r\n", PIPELINING), ("DATA\r\n", "250 ok\r\n250 ok\r\n354 go\r\n"), ("\r\n.\r\n", "")],
        &to,
        b"x",
    )
    .await;
    assert!(matches!(sent, Err(ClientError::UnclearEnd { .. })), "{sent:?}");
    assert!(!is_usable);
    // Lost before the 354: nothing is unclear.
    let (sent, ..) =
        send_to(&[("EHLO client.example\r\n", PIPELINING), ("DATA\r\n", "250 ok\r\n250 ok\r\n")], &to, b"x").await;
    assert!(matches!(sent, Err(ClientError::Lost { phase: Phase::DataStart, .. })), "{sent:?}");
    // A 4yz or a 421 after the dot is an answer.
    let (sent, is_usable, _) = send_to(
        &[
            ("EHLO client.example\r\n", PIPELINING),
            ("DATA\r\n", "250 ok\r\n250 ok\r\n354 go\r\n"),
            ("\r\n.\r\n", "421 4.3.2 bye\r\n"),
        ],
        &to,
        b"x",
    )
    .await;
    assert_eq!((sent.unwrap().data.unwrap().class(), is_usable), (ReplyClass::Transient, false));
}

/// Whoever stops waiting leaves replies unread, or half a body in which a QUIT would be text: the connection is not used again.
#[tokio::test]
async fn an_interrupted_transaction_ends_the_connection() {
    const ALL: &str = "250 ok\r\n250 ok\r\n354 go\r\n";
    for (answer, until, is_unclear) in [("", "DATA\r\n", false), (ALL, "\r\n.\r\n", true)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let heard_all = Arc::new(Semaphore::new(0));
        let told = heard_all.clone();
        let hearing = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"220 h\r\n").await.unwrap();
            let (mut heard, mut buffer) = (String::new(), [0; 4096]);
            loop {
                match stream.read(&mut buffer).await.unwrap() {
                    0 => return heard,
                    count => heard.push_str(&String::from_utf8_lossy(&buffer[..count])),
                }
                let reply = if heard.ends_with("EHLO client.example\r\n") { PIPELINING } else { answer };
                if heard.ends_with("example\r\n") || heard.ends_with("DATA\r\n") {
                    stream.write_all(reply.as_bytes()).await.unwrap();
                }
                if heard.ends_with(until) {
                    told.add_permits(1);
                }
            }
        });
        let mut client = connect(addr).await;
        tokio::select! {
            sent = send(&mut client, &["ada@example.org"], b"x") => panic!("{sent:?}"),
            permit = heard_all.acquire() => permit.unwrap().forget(),
        }
        let interrupted = client.interrupted();
        assert_eq!(matches!(interrupted, ClientError::UnclearEnd { .. }), is_unclear, "{interrupted}");
        assert!(!client.is_usable());
        let again = send(&mut client, &["ada@example.org"], b"x").await;
        assert!(matches!(again, Err(ClientError::Lost { .. })), "{again:?}");
        client.quit().await;
        let heard = hearing.await.unwrap();
        assert!(heard.ends_with(until), "nothing follows: {heard:?}");
    }
}

/// A host may say 354 to nobody. Whatever becomes of that body, everybody has an answer.
#[tokio::test]
async fn refused_recipients_have_their_answers_whatever_becomes_of_the_rest() {
    let to = ["ada@example.org", "bob@example.org"];
    let (sent, is_usable, _) = send_to(
        &[
            ("EHLO client.example\r\n", PIPELINING),
            ("DATA\r\n", "250 ok\r\n550 5.1.1 no\r\n550 5.1.1 no\r\n354 go\r\n"),
            ("\r\n.\r\n", ""),
        ],
        &to,
        b"x",
    )
    .await;
    let sent = sent.expect("everybody has an answer");
    assert!(sent.recipients.iter().all(|(_, reply)| reply.code() == 550) && sent.data.is_none() && !is_usable);

    let (addr, hearing) = host(
        "220 h\r\n",
        &[
            ("EHLO client.example\r\n", PIPELINING),
            ("DATA\r\n", "250 ok\r\n250 ok\r\n550 5.1.1 no\r\n354 go\r\n"),
            ("\r\n.\r\n", ""),
        ],
    )
    .await;
    let mut client = connect(addr).await;
    let sent = send(&mut client, &to, b"x").await;
    assert!(matches!(sent, Err(ClientError::UnclearEnd { .. })), "{sent:?}");
    let refused: Vec<(usize, u16)> = client.refused().iter().map(|(at, reply)| (*at, reply.code())).collect();
    assert_eq!(refused, [(1, 550)]);
    drop(client);
    hearing.await.unwrap();
}

/// RFC 1870 5: the size counts CRLFs and does not count added dots.
#[tokio::test]
async fn the_declared_size_is_the_true_size() {
    let mut limits = ServerConfig::new("mx.example");
    limits.size_bytes_max = 9;
    let (keeper, server) = keeper_server(limits).await;
    let mut client = connect(server.addr).await;
    assert_eq!(send(&mut client, &["ada@example.org"], b".\n.\n.").await.unwrap().data.unwrap().code(), 250);
    assert_eq!(keeper.kept()[0].0.declared_size_bytes, Some(9));
    let outcome = send(&mut client, &["ada@example.org"], b".\n.\n..").await.unwrap();
    assert_eq!((outcome.recipients[0].1.code(), outcome.data), (552, None));
    server.stop().await;
}

/// Whether something lies in a socket that is connected to `peer`, or its peer has closed it (the columns are told in proc(5)).
fn has_news(peer: SocketAddr) -> bool {
    const CLOSE_WAIT: &str = "08";
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let port = format!(":{:04X}", peer.port());
    table.lines().skip(1).any(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [_, _, remote, state, queues, ..] = columns[..] else { return false };
        remote.ends_with(&port) && (state == CLOSE_WAIT || queues.rsplit(':').next() != Some("00000000"))
    })
}

/// A reply that nobody asked for would be taken for the next one's, and that for the one behind it: nothing more is sent there.
#[tokio::test]
async fn a_reply_that_nobody_asked_for_ends_the_connection() {
    for (surplus, is_farewell) in [("550 5.1.1 nobody\r\n", false), ("421 4.4.2 too long\r\n", true), ("", false)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (go, said) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (host_goes, host_said) = (go.clone(), said.clone());
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"220 h\r\n").await.unwrap();
            read_line(&mut stream).await;
            stream.write_all(b"250 h\r\n").await.unwrap();
            for answer in ["250 ok\r\n", "250 ok\r\n", "354 go\r\n"] {
                read_line(&mut stream).await;
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            let mut body = Vec::new();
            while !body.ends_with(b"\r\n.\r\n") {
                assert!(stream.read_buf(&mut body).await.unwrap() > 0);
            }
            stream.write_all(b"250 2.0.0 kept\r\n").await.unwrap();
            host_goes.notified().await;
            stream.write_all(surplus.as_bytes()).await.unwrap();
            if surplus.is_empty() {
                stream.shutdown().await.unwrap();
            }
            host_said.notify_one();
            let mut more = Vec::new();
            let _ = stream.read_to_end(&mut more).await;
            more
        });
        let mut client = connect(addr).await;
        assert_eq!(send(&mut client, &["ada@example.org"], b"x").await.unwrap().data.unwrap().code(), 250);
        go.notify_one();
        said.notified().await;
        // Written is not arrived: on a busy machine the kernel carries it over later.
        eventually(|| has_news(addr)).await;
        match (send(&mut client, &["bob@example.org"], b"x").await, is_farewell) {
            (Err(ClientError::Closed { phase: Phase::Mail, reply }), true) => assert_eq!(reply.code(), 421),
            (Err(ClientError::Protocol { phase: Phase::Mail, .. }), false) if !surplus.is_empty() => {}
            (Err(ClientError::Lost { phase: Phase::Mail, .. }), false) if surplus.is_empty() => {}
            (sent, _) => panic!("{surplus:?}: {sent:?}"),
        }
        assert!(!client.is_usable());
        drop(client);
        assert!(serving.await.unwrap().is_empty(), "nothing was said behind it");
    }
}

/// A host that refuses in the middle of a body and hangs up: its reason is the answer.
#[tokio::test]
async fn last_words_are_heard() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"220 h\r\n").await.unwrap();
        read_line(&mut stream).await;
        stream.write_all(PIPELINING.as_bytes()).await.unwrap();
        let mut buffer = vec![0; 64 * 1024];
        assert!(stream.read(&mut buffer).await.unwrap() > 0);
        stream.write_all(b"250 ok\r\n250 ok\r\n354 go\r\n").await.unwrap();
        assert!(stream.read(&mut buffer).await.unwrap() > 0);
        stream.write_all(b"552 5.3.4 too big\r\n").await.unwrap();
    });
    let mut client = connect(addr).await;
    match send(&mut client, &["ada@example.org"], &b"0123456789\r\n".repeat(2_000_000)).await {
        Ok(outcome) => assert_eq!(outcome.data.unwrap().code(), 552),
        // A reset may throw away what was said; then it is a plain loss, and never an unclear end.
        Err(error) => assert!(matches!(error, ClientError::Lost { phase: Phase::DataBlock, .. }), "{error:?}"),
    }
    assert!(!client.is_usable());
    serving.await.unwrap();
}

#[tokio::test]
async fn hosts_of_all_kinds() {
    // Without EHLO, hence without pipelining: one command at a time, and no parameters.
    let (sent, is_usable, heard) = send_to(
        &[
            ("EHLO client.example\r\n", "502 what\r\n"),
            ("HELO client.example\r\n", "250 h\r\n"),
            ("MAIL FROM:<a@client.example>\r\n", "250 ok\r\n"),
            ("RCPT TO:<ada@example.org>\r\n", "250 ok\r\n"),
            ("DATA\r\n", "354 go\r\n"),
            ("x\r\n.\r\n", "250 ok\r\n"),
        ],
        &["ada@example.org"],
        b"x",
    )
    .await;
    assert_eq!((sent.unwrap().data.unwrap().code(), is_usable), (250, true), "{heard}");
    // 354 although nobody was accepted: an empty body, and no data reply (RFC 2920 3.1).
    let (sent, _, heard) = send_to(
        &[
            ("EHLO client.example\r\n", PIPELINING),
            ("DATA\r\n", "250 ok\r\n550 no\r\n354 go\r\n"),
            ("DATA\r\n.\r\n", "554 none\r\n"),
        ],
        &["ada@example.org"],
        b"not for you",
    )
    .await;
    assert_eq!(sent.unwrap().data, None);
    assert!(!heard.contains("not for you"));
    // 421 in the middle.
    let (sent, ..) = send_to(
        &[("EHLO client.example\r\n", PIPELINING), ("DATA\r\n", "250 ok\r\n421 4.7.0 enough\r\n")],
        &["ada@example.org"],
        b"x",
    )
    .await;
    assert!(matches!(&sent, Err(ClientError::Closed { phase: Phase::Rcpt, reply }) if reply.code() == 421), "{sent:?}");
    // No 8BITMIME: found before anything is written, and the connection stays.
    let (sent, is_usable, heard) = send_to(&[("EHLO client.example\r\n", PIPELINING)], &["ada@x.y"], b"\xFF").await;
    assert!(matches!(sent, Err(ClientError::EightBitRefused)), "{sent:?}");
    assert!(is_usable && !heard.contains("MAIL"));
    let (sent, ..) = send_to(&[("EHLO client.example\r\n", PIPELINING)], &["ü@x.y"], b"x").await;
    assert!(matches!(sent, Err(ClientError::Utf8Refused)), "{sent:?}");
}

#[tokio::test]
async fn greetings_of_all_kinds() {
    let greet = async |greeting| {
        let (addr, _hearing) = host(greeting, &[("never", "")]).await;
        let timeouts = Timeouts { greeting_ms: 300, ..Timeouts::default() };
        Client::connect(addr, ClientConfig { timeouts, ..config() }).await.unwrap_err()
    };
    let refused = greet("554 5.7.1 go away\r\n").await;
    assert_eq!(refused.severity(), ReplyClass::Permanent);
    assert!(matches!(refused, ClientError::Closed { phase: Phase::Greeting, .. }), "{refused:?}");
    let garbage = greet("SSH-2.0-host\r\n").await;
    assert!(matches!(garbage, ClientError::Protocol { phase: Phase::Greeting, .. }), "{garbage:?}");
    let silent = greet("").await;
    assert!(matches!(silent, ClientError::Timeout { phase: Phase::Greeting }), "{silent:?}");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let nobody = Client::connect(addr, config()).await.unwrap_err();
    assert!(matches!(nobody, ClientError::Connect(_)), "{nobody:?}");
}

/// Replies that stand behind the 220 of STARTTLS came unprotected and answer nothing.
#[tokio::test]
async fn replies_injected_before_tls_are_dropped() {
    let (server_tls, client_tls) = common::tls();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"220 h\r\n").await.unwrap();
        read_line(&mut stream).await;
        stream.write_all(b"250-h\r\n250 STARTTLS\r\n").await.unwrap();
        read_line(&mut stream).await;
        stream.write_all(b"220 go\r\n250-injected\r\n250 8BITMIME\r\n").await.unwrap();
        let mut stream = tokio_rustls::TlsAcceptor::from(server_tls).accept(stream).await.unwrap();
        let mut buffer = [0; 100];
        assert!(stream.read(&mut buffer).await.unwrap() > 0);
        stream.write_all(b"250 h\r\n").await.unwrap();
        stream.flush().await.unwrap();
        stream
    });
    let tls = TlsMode::Required { config: client_tls, server_name: common::server_name() };
    let client = Client::connect(addr, ClientConfig { tls, ..config() }).await.unwrap();
    assert!(!client.capabilities().eight_bit_mime, "the injected reply was believed");
    serving.await.unwrap();
}
