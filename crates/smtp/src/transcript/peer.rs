//! The client's end of a dialogue over a socket.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::STEP_MS_MAX;
use super::text::begins_as;
use crate::reply::ReplyParser;
use crate::stream::Stream;

/// The client's end of a run over a socket.
pub(super) struct Peer {
    stream: Stream<TcpStream>,
    parser: ReplyParser,
}

impl Peer {
    pub(super) async fn connect(addr: SocketAddr) -> io::Result<Self> {
        let stream = bounded(TcpStream::connect(addr)).await?;
        Ok(Peer { stream: Stream::Clear(stream), parser: ReplyParser::default() })
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        let writing = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        bounded(writing).await.map_err(|error| format!("write: {error}"))
    }

    pub(super) async fn expect_reply(&mut self, pattern: &str) -> Result<(), String> {
        loop {
            if let Some(reply) = self.parser.next_reply().map_err(|error| error.to_string())? {
                let text = reply.to_string();
                return match begins_as(pattern, &text) {
                    true => Ok(()),
                    false => Err(format!("expected {pattern:?}, got {text:?}")),
                };
            }
            if self.read().await? == 0 {
                return Err(format!("expected {pattern:?}, the server closed"));
            }
        }
    }

    pub(super) async fn expect_end(&mut self) -> Result<(), String> {
        if !self.parser.is_empty() || self.read().await? > 0 {
            return Err(format!("expected the end, got {:?}", self.parser));
        }
        Ok(())
    }

    pub(super) async fn start_tls(
        mut self,
        config: Arc<rustls::ClientConfig>,
        server_name: ServerName<'static>,
    ) -> Result<Self, String> {
        self.parser.clear();
        let (stream, _) = bounded(self.stream.connect_tls(config, server_name)).await.map_err(|e| e.to_string())?;
        Ok(Peer { stream, parser: self.parser })
    }

    async fn read(&mut self) -> Result<usize, String> {
        let mut buffer = [0; 4096];
        let count = bounded(self.stream.read(&mut buffer)).await.map_err(|error| format!("read: {error}"))?;
        self.parser.feed(&buffer[..count]);
        Ok(count)
    }
}

async fn bounded<T>(step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(Duration::from_millis(STEP_MS_MAX), step).await?
}
