//! Connections of browsers and programs, bounded in number and in how long they may keep the server waiting.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// Open connections; more wait in the queue of the system.
const CONNECTIONS_MAX: usize = 2_048;
/// The longest that nothing is written to a connection: an answer begins within 30 s, a line of events has a heartbeat. What
/// is silent for longer is a browser that is done, a request that never ends, or somebody who does not read.
const SILENCE_MS_MAX: u64 = 90_000;
/// A large request is no silence, as long as so much of it comes in that time: nobody drips it for hours.
const UPLOAD_BYTES_MIN: usize = 1024 * 1024;

/// Accepts no more connections than there is room for.
#[derive(Debug)]
pub struct Bounded {
    listener: TcpListener,
    room: Arc<Semaphore>,
}

impl Bounded {
    pub fn new(listener: TcpListener) -> Self {
        Bounded { listener, room: Arc::new(Semaphore::new(CONNECTIONS_MAX)) }
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let place = self.room.clone().acquire_owned().await.ok(); // nobody closes it
        let (stream, from) = Listener::accept(&mut self.listener).await;
        (Connection { stream, silence: Box::pin(sleep(silence_max())), heard_bytes: 0, _place: place }, from)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

fn silence_max() -> Duration {
    Duration::from_millis(SILENCE_MS_MAX)
}

/// A connection that ends when nothing was written to it, and little came, for too long.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    silence: Pin<Box<Sleep>>,
    /// What has come since the silence began.
    heard_bytes: usize,
    _place: Option<OwnedSemaphorePermit>,
}

impl Connection {
    /// The outcome, unless the connection has been silent for too long while it was waited for.
    fn in_time<T>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match self.silence.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => outcome,
        }
    }

    fn wrote(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(1..)) = outcome {
            self.begin_silence();
        }
        self.in_time(cx, outcome)
    }

    fn heard(&mut self, bytes: usize) {
        self.heard_bytes += bytes;
        if self.heard_bytes >= UPLOAD_BYTES_MIN {
            self.begin_silence();
        }
    }

    fn begin_silence(&mut self) {
        self.heard_bytes = 0;
        self.silence.as_mut().reset(Instant::now() + silence_max());
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.heard(buf.filled().len() - before);
        self.in_time(cx, outcome)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn bound(room: usize) -> (Bounded, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        (Bounded { listener, room: Arc::new(Semaphore::new(room)) }, address)
    }

    #[tokio::test]
    async fn who_keeps_the_server_waiting_is_let_go() {
        let (mut listener, address) = bound(9).await;
        let mut client = TcpStream::connect(address).await.expect("a connection");
        let (mut connection, _) = listener.accept().await;
        client.write_all(b"GET / HT").await.expect("half a request");
        let mut seen = [0; 8];
        connection.read_exact(&mut seen).await.expect("half a request");
        // From here on the clock jumps to the next deadline when there is nothing to do.
        tokio::time::pause();
        let began = Instant::now();
        let error = connection.read_exact(&mut seen).await.expect_err("the other half never comes");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() >= silence_max() - Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_written_keeps_a_connection() {
        let (mut listener, address) = bound(9).await;
        let mut client = TcpStream::connect(address).await.expect("a connection");
        let (mut connection, _) = listener.accept().await;
        for _ in 0..20 {
            tokio::time::advance(Duration::from_secs(15)).await;
            connection.write_all(b":\n\n").await.expect("a heartbeat");
        }
        let mut heard = [0; 60];
        client.read_exact(&mut heard).await.expect("20 heartbeats in 300 s");
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_request_may_take_its_time_and_a_drip_may_not() {
        let (mut listener, address) = bound(9).await;
        let _client = TcpStream::connect(address).await.expect("a connection");
        let (mut connection, _) = listener.accept().await;
        let mut goes_on = async |heard_bytes: usize| {
            tokio::time::advance(Duration::from_secs(15)).await;
            connection.heard(heard_bytes);
            let outcome = poll_fn(|cx| Poll::Ready(connection.in_time(cx, Poll::Ready(Ok(()))))).await;
            matches!(outcome, Poll::Ready(Ok(())))
        };
        for _ in 0..20 {
            assert!(goes_on(UPLOAD_BYTES_MIN / 4).await, "5 MiB in 300 s");
        }
        let mut drops = 0;
        while goes_on(1).await {
            drops += 1;
        }
        assert!((4..8).contains(&drops), "{drops} bytes in 90 s");
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_no_more_room_than_there_is() {
        let (mut listener, address) = bound(1).await;
        let _first = TcpStream::connect(address).await.expect("a connection");
        let _second = TcpStream::connect(address).await.expect("the system's queue takes it");
        let (first, _) = listener.accept().await;
        let early = tokio::time::timeout(Duration::from_secs(1), listener.accept()).await;
        assert!(early.is_err(), "the first is still there");
        drop(first);
        let (_second, from) = listener.accept().await;
        assert_eq!(from.ip(), address.ip());
    }
}
