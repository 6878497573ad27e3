//! What a listener decides before and around a session: proxies, implicit TLS, sockets in the file system, hang-ups.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::{Address, Envelope, Reply};
use smtp::server::Network;
use smtp::{CancellationToken, Client, ClientConfig, Handler, Mail, Server, ServerConfig, TlsMode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::common;

const WAIT: Duration = Duration::from_secs(20);

/// Keeps what arrives and says when.
#[derive(Default)]
struct Keeper {
    kept: Mutex<Vec<(Envelope, Vec<u8>)>>,
    arrived: Notify,
    /// Waits for this before it answers.
    gate: Option<Arc<Notify>>,
}

impl Keeper {
    fn kept(&self) -> Vec<(Envelope, Vec<u8>)> {
        self.kept.lock().unwrap().clone()
    }
}

impl Handler for Keeper {
    async fn rcpt(&self, _envelope: &Envelope, _recipient: &Address) -> Result<(), Reply> {
        Ok(())
    }

    async fn data(&self, envelope: Envelope, body: Vec<u8>) -> Reply {
        self.kept.lock().unwrap().push((envelope, body));
        self.arrived.notify_one();
        if let Some(gate) = &self.gate {
            gate.notified().await;
        }
        Reply::ok(250, (0, 0), "kept")
    }
}

async fn talk<S: AsyncReadExt + AsyncWriteExt + Unpin>(stream: &mut S, say: &[u8], end: &str) -> String {
    stream.write_all(say).await.unwrap();
    let mut heard = String::new();
    let mut buffer = [0; 4096];
    while !heard.contains(end) {
        let count = timeout(WAIT, stream.read(&mut buffer)).await.expect("an answer").unwrap_or(0);
        if count == 0 {
            break;
        }
        heard.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    heard
}

const MAIL: &[u8] = b"EHLO c\r\n";
const REST: &[u8] = b"MAIL FROM:<a@client.example>\r\nRCPT TO:<ada@example.org>\r\nDATA\r\n";

/// Section C row 46: only a listed peer speaks for others, and it must.
#[tokio::test]
async fn proxies() {
    let listed = ServerConfig {
        proxy_peers: vec!["127.0.0.0/8".parse::<Network>().unwrap()],
        ..ServerConfig::new("mx.example")
    };
    let keeper = Arc::new(Keeper::default());
    let server = common::start(listed, None, keeper.clone()).await;
    let headers: [&[u8]; 3] = [
        b"PROXY TCP4 192.0.2.7 198.51.100.1 5000 25\r\n",
        b"PROXY UNKNOWN\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24 \x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x13\x88\0\x19",
    ];
    for (header, ip) in headers.into_iter().zip(["192.0.2.7", "127.0.0.1", "2001:db8::9"]) {
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        assert!(talk(&mut stream, header, "\r\n").await.starts_with("220"), "{ip}");
        talk(&mut stream, MAIL, "SMTPUTF8\r\n").await;
        assert!(talk(&mut stream, REST, "354").await.contains("354"));
        assert!(talk(&mut stream, b".\r\n", "\r\n").await.starts_with("250"));
        let (envelope, _) = keeper.kept().pop().unwrap();
        assert_eq!(envelope.client.ip.to_string(), ip);
    }
    for wrong in
        [&b"EHLO client.example\r\n"[..], b"PROXY TCP4 x y 1 2\r\n", b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\n      "]
    {
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        assert_eq!(talk(&mut stream, wrong, "\r\n").await, "", "{wrong:?}: nothing is said to a proxy that is none");
    }
    assert_eq!(server.stats.proxy_error_count.load(std::sync::atomic::Ordering::Relaxed), 3);
    server.stop().await;

    let server = common::start(ServerConfig::new("mx.example"), None, keeper.clone()).await;
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    let heard = talk(&mut stream, headers[0], "\r\n").await;
    let heard = if heard.starts_with("220") { talk(&mut stream, b"", "5").await } else { heard };
    assert!(heard.starts_with("554") || heard.starts_with("500"), "{heard}");
    server.stop().await;
}

/// RFC 8314 3.3.
#[tokio::test]
async fn tls_from_the_first_byte() {
    let (server_tls, client_tls) = common::tls();
    let keeper = Arc::new(Keeper::default());
    let config = ServerConfig { tls_implicit: true, ..ServerConfig::new("mx.example") };
    let server = common::start(config, Some(server_tls), keeper.clone()).await;
    let tls = TlsMode::Implicit { config: client_tls, server_name: common::server_name() };
    let mut client =
        Client::connect(server.addr, ClientConfig { tls, ..ClientConfig::new("client.example") }).await.unwrap();
    let to = ["ada@example.org".parse().unwrap()];
    let outcome = client.send(&Mail { reverse_path: &"a@b.c".parse().unwrap(), recipients: &to }, b"x\r\n").await;
    assert_eq!(outcome.unwrap().data.unwrap().code(), 250);
    client.quit().await;
    assert!(keeper.kept()[0].0.client.tls.is_some());
    server.stop().await;
}

#[tokio::test]
async fn lmtp_on_a_socket_in_the_file_system() {
    let keeper = Arc::new(Keeper::default());
    let dir = std::env::temp_dir().join(format!("landfall-lmtp-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let listener = UnixListener::bind(dir.join("lmtp")).unwrap();
    let stop = CancellationToken::new();
    let server = Server::new(ServerConfig::lmtp("mx.example"), None, keeper.clone());
    let serving = tokio::spawn({
        let stop = stop.clone();
        async move { server.serve_unix(listener, stop).await }
    });
    let mut stream = UnixStream::connect(dir.join("lmtp")).await.unwrap();
    assert!(talk(&mut stream, b"", "\r\n").await.starts_with("220 mx.example LMTP"));
    talk(&mut stream, b"LHLO c\r\n", "SMTPUTF8\r\n").await;
    let two = b"MAIL FROM:<>\r\nRCPT TO:<ada@example.org>\r\nRCPT TO:<grace@example.org>\r\nDATA\r\n";
    assert!(talk(&mut stream, two, "354").await.contains("354"));
    let heard = talk(&mut stream, b"x\r\n.\r\nQUIT\r\n", "221").await;
    assert_eq!(heard.matches("250 2.0.0").count(), 2, "{heard}");
    drop(stream);
    stop.cancel();
    timeout(WAIT, serving).await.unwrap().unwrap();
    std::fs::remove_dir_all(dir).unwrap();
}

/// Section C row 41: a client that hangs up leaves nothing behind, unless its message was whole; then it is there once.
#[tokio::test]
async fn hang_ups() {
    let keeper = Arc::new(Keeper::default());
    let server = common::start(ServerConfig::new("mx.example"), None, keeper.clone()).await;
    let half: [&[u8]; 6] = [
        b"MAIL FR",
        b"MAIL FROM:<a@client.example>\r\nRCPT TO:<ada@exa",
        b"MAIL FROM:<a@client.example>\r\nRCPT TO:<ada@example.org>\r\nDATA\r\n",
        b"MAIL FROM:<a@client.example>\r\nRCPT TO:<ada@example.org>\r\nBDAT 100 LAST\r\nonly half of it",
        b"MAIL FROM:<a@client.example>\r\nRCPT TO:<ada@example.org>\r\nBDAT 3\r\nx\r\n",
        b"",
    ];
    for say in half {
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        talk(&mut stream, b"", "\r\n").await;
        talk(&mut stream, MAIL, "SMTPUTF8\r\n").await;
        stream.write_all(say).await.unwrap();
        if say.ends_with(b"DATA\r\n") {
            talk(&mut stream, b"", "354").await;
            stream.write_all(b"Subject: half\r\n\r\nof it\r\n.\r").await.unwrap();
        }
        stream.shutdown().await.unwrap();
        // Whatever it still says, it ends.
        talk(&mut stream, b"", "never said").await;
    }
    assert_eq!(keeper.kept().len(), 0);
    server.stop().await;

    let gate = Arc::new(Notify::new());
    let keeper = Arc::new(Keeper { gate: Some(gate.clone()), ..Keeper::default() });
    let server = common::start(ServerConfig::new("mx.example"), None, keeper.clone()).await;
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    talk(&mut stream, b"", "\r\n").await;
    talk(&mut stream, MAIL, "SMTPUTF8\r\n").await;
    talk(&mut stream, REST, "354").await;
    stream.write_all(b"whole\r\n.\r\n").await.unwrap();
    timeout(WAIT, keeper.arrived.notified()).await.expect("it arrives");
    drop(stream);
    gate.notify_one();
    server.stop().await;
    assert_eq!(keeper.kept().len(), 1, "what was whole is kept once, heard or not");
}
