//! What the tests over sockets share: a server on a free port, and a certificate made for the run.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use smtp::{CancellationToken, Handler, Server, ServerConfig};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub struct Running {
    pub addr: SocketAddr,
    pub stats: Arc<smtp::server::ServerStats>,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

impl Running {
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.serving.await.expect("the accept loop does not panic");
    }
}

pub async fn start<H: Handler>(
    config: ServerConfig,
    tls: Option<Arc<rustls::ServerConfig>>,
    handler: Arc<H>,
) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("a bound socket has an address");
    let shutdown = CancellationToken::new();
    let server = Server::new(config, tls, handler);
    let stats = server.stats().clone();
    let token = shutdown.clone();
    let serving = tokio::spawn(async move { server.serve(listener, token).await });
    Running { addr, stats, shutdown, serving }
}

pub fn server_name() -> ServerName<'static> {
    ServerName::try_from("mx.example").expect("a name")
}

/// A server and a client configuration that trust each other.
pub fn tls() -> (Arc<rustls::ServerConfig>, Arc<rustls::ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["mx.example".to_owned()]).expect("a certificate");
    let certificate: CertificateDer<'static> = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let server = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .expect("a matching key");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).expect("a root");
    let client = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}
