//! Processes of the binary: commands that end and servers that run. Each has its own folder, free ports and no
//! configuration but what its test says; each ends with its test.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use smtp::{Client, ClientConfig, Mail, Outcome};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::web::Api;

/// The most that a test waits for one thing.
pub const WAIT: Duration = Duration::from_secs(60);
/// What every test organisation is called.
pub const HOSTNAME: &str = "mx.example";
/// Its domain.
pub const DOMAIN: &str = "example.org";

/// A folder and a configuration, on which commands and servers run.
#[derive(Clone)]
pub struct Site {
    dir: Arc<TempDir>,
    data: String,
    variables: Vec<(String, String)>,
    /// What starts the binary, in front of its path.
    wrapper: Vec<String>,
}

/// A command that ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A running server.
pub struct Running {
    child: Child,
    said: Lines,
    logged: Lines,
    /// Its data is there as long as it runs.
    _dir: Arc<TempDir>,
    /// What its lines say.
    pub smtp: SocketAddr,
    pub http: SocketAddr,
}

/// The lines of a stream, as they come.
#[derive(Clone)]
struct Lines(watch::Receiver<Vec<String>>);

impl Site {
    /// A server for `example.org` on free ports that asks nobody for names.
    pub fn new() -> Site {
        let dir = Arc::new(tempfile::tempdir().expect("a temporary directory"));
        let site = Site { dir, data: "data".into(), variables: Vec::new(), wrapper: Vec::new() };
        site.with("LANDFALL_SERVER_HOSTNAME", HOSTNAME)
            .with("LANDFALL_ORGANISATION_DOMAINS", DOMAIN)
            .with("LANDFALL_SMTP_LISTEN", "127.0.0.1:0")
            .with("LANDFALL_HTTP_LISTEN", "127.0.0.1:0")
            .with("LANDFALL_IMAP_LISTEN", "127.0.0.1:0")
            .with("LANDFALL_IMAP_LISTEN_TLS", "127.0.0.1:0")
            .with("LANDFALL_SUBMISSION_LISTEN", "127.0.0.1:0")
            .with("LANDFALL_SUBMISSION_LISTEN_TLS", "127.0.0.1:0")
            .with("LANDFALL_DNS_SERVER", "none")
    }

    /// With this variable, in place of what it was.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Site {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// With commands that run in the mount namespace of a process.
    pub fn inside(self, pid: u32) -> Site {
        let folder = format!("--wd={}", self.dir.path().display());
        self.wrapped(&["nsenter", "-m", "-t", &pid.to_string(), &folder])
    }

    /// With commands that are started by this one, which stays or becomes the binary.
    pub fn wrapped(mut self, wrapper: &[&str]) -> Site {
        self.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// With the data directory of this name.
    pub fn with_data(&self, name: &str) -> Site {
        Site { data: name.to_owned(), ..self.clone() }
    }

    /// The data directory; made by the first server.
    pub fn data(&self) -> PathBuf {
        self.path(&self.data)
    }

    /// A path in the site's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let binary = env!("CARGO_BIN_EXE_landfall");
        let mut command = match self.wrapper.split_first() {
            Some((wrapper, rest)) => {
                let mut command = Command::new(wrapper);
                command.args(rest).arg(binary);
                command
            }
            None => Command::new(binary),
        };
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("LANDFALL_") {
                command.env_remove(name);
            }
        }
        command.args(arguments).envs(self.variables.iter().cloned()).current_dir(self.dir.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Runs a command to its end.
    pub async fn run(&self, arguments: &[&str]) -> Ran {
        self.run_within(WAIT, arguments).await
    }

    /// Runs a command that takes longer than others.
    pub async fn run_within(&self, wait: Duration, arguments: &[&str]) -> Ran {
        let ran = timeout(wait, self.command(arguments).output()).await;
        let ran = ran.unwrap_or_else(|_| panic!("{arguments:?} did not end")).expect("the binary starts");
        let text = |raw: Vec<u8>| String::from_utf8(raw).expect("output is UTF-8");
        Ran { code: ran.status.code().unwrap_or(-1), stdout: text(ran.stdout), stderr: text(ran.stderr) }
    }

    /// Runs a command with `--data` of this site.
    pub async fn run_here(&self, command: &str, arguments: &[&str]) -> Ran {
        let data = self.data().display().to_string();
        let mut all = vec![command, "--data", &data];
        all.extend(arguments);
        self.run(&all).await
    }

    /// Starts a server and waits for its listeners.
    pub async fn serve(&self) -> Running {
        let data = self.data().display().to_string();
        let mut child = self.command(&["serve", "--data", &data]).spawn().expect("the binary starts");
        let said = Lines::of(child.stdout.take().expect("a pipe"), "said");
        let logged = Lines::of(child.stderr.take().expect("a pipe"), "logged");
        let Some(console) = said.wait_for("Console http://").await else {
            panic!("no server: {:?} {:?}", said.so_far(), logged.so_far());
        };
        let listener = |line: &str, begin: &str| -> SocketAddr {
            let rest = line.strip_prefix(begin).and_then(|rest| rest.split(' ').next());
            rest.and_then(|addr| addr.parse().ok()).unwrap_or_else(|| panic!("{line:?} names no address"))
        };
        let smtp = said.wait_for("SMTP ").await.expect("an SMTP line");
        let (smtp, http) = (listener(&smtp, "SMTP "), listener(&console, "Console http://"));
        Running { child, said, logged, _dir: self.dir.clone(), smtp, http }
    }

    /// Starts a server and signs in as its owner.
    pub async fn serve_first(&self) -> (Running, Api) {
        let server = self.serve().await;
        let api = Api::owner(server.http, &server.line("First run: ").await).await;
        (server, api)
    }
}

impl Ran {
    /// Fails unless it ended with this code and said this on standard error, in one line.
    #[track_caller]
    pub fn refused(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        let line = self.stderr.trim_end();
        assert!(line.starts_with("landfall: ") && !line.contains('\n'), "not one line: {self:?}");
        for words in words {
            assert!(line.contains(words), "{line:?} does not say {words:?}");
        }
    }

    /// Fails unless it was done.
    #[track_caller]
    pub fn done(self) -> Ran {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }
}

impl Running {
    /// A line of standard output that begins so.
    pub async fn line(&self, begin: &str) -> String {
        let line = self.said.wait_for(begin).await;
        line.unwrap_or_else(|| panic!("no line {begin:?} in {:?}", self.said.so_far()))
    }

    /// Waits for a line of the log that holds these words.
    pub async fn logged(&self, words: &str) -> String {
        let line = self.logged.wait_for_words(words).await;
        line.unwrap_or_else(|| panic!("nothing logged {words:?}: {:?}", self.logged.so_far()))
    }

    /// What it said on standard output so far.
    pub fn said(&self) -> Vec<String> {
        self.said.so_far()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Sends SIGTERM.
    pub async fn terminate(&self) {
        let pid = self.child.id().expect("it runs").to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().await.expect("kill is there");
        assert!(sent.success(), "SIGTERM to {pid}");
    }

    /// Kills it at once.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("it is killed");
    }

    /// Waits until it ended; gives the exit code and the log.
    pub async fn ended(mut self) -> (i32, Vec<String>) {
        let status = timeout(WAIT, self.child.wait()).await.expect("it ends").expect("its status");
        self.logged.closed().await;
        (status.code().unwrap_or(-1), self.logged.so_far())
    }

    /// Stops it as an operator does; gives the log.
    pub async fn stop(self) -> Vec<String> {
        self.terminate().await;
        let (code, log) = self.ended().await;
        assert_eq!(code, 0, "{log:?}");
        log
    }

    /// One mail over SMTP.
    pub async fn send(&self, from: &str, to: &[&str], body: &[u8]) -> Outcome {
        let mut client = Client::connect(self.smtp, ClientConfig::new("client.example")).await.expect("a connection");
        let recipients: Vec<_> = to.iter().map(|to| to.parse().expect("an address")).collect();
        let mail = Mail { reverse_path: &from.parse().expect("a reverse-path"), recipients: &recipients };
        let outcome = client.send(&mail, body).await.expect("an outcome");
        client.quit().await;
        outcome
    }

    /// One mail that is accepted.
    pub async fn deliver(&self, to: &str, body: &[u8]) {
        let outcome = self.send("eve@client.example", &[to], body).await;
        assert_eq!(outcome.data.as_ref().map(model::Reply::code), Some(250), "{outcome:?}");
    }

    /// An SMTP dialogue by hand.
    pub async fn talk(&self) -> Talk {
        let stream = TcpStream::connect(self.smtp).await.expect("a connection");
        let mut talk = Talk(BufReader::new(stream));
        assert!(talk.reply().await.starts_with("220 "));
        talk
    }
}

/// An SMTP dialogue by hand.
pub struct Talk(BufReader<TcpStream>);

impl Talk {
    /// A dialogue that was greeted; `None` when nobody has time.
    pub async fn to(smtp: SocketAddr) -> Option<Talk> {
        let mut talk = Talk(BufReader::new(TcpStream::connect(smtp).await.ok()?));
        talk.reply().await.starts_with("220 ").then_some(talk)
    }

    /// Writes bytes as they are.
    pub async fn write(&mut self, bytes: &[u8]) {
        tokio::io::AsyncWriteExt::write_all(self.0.get_mut(), bytes).await.expect("the server reads");
    }

    /// The last line of the next reply; empty at the end of the connection.
    pub async fn reply(&mut self) -> String {
        loop {
            let mut line = String::new();
            timeout(WAIT, self.0.read_line(&mut line)).await.expect("a reply in time").expect("a reply");
            if line.as_bytes().get(3) != Some(&b'-') {
                return line.trim_end().to_owned();
            }
        }
    }

    /// Writes a line and gives the reply.
    pub async fn say(&mut self, line: &str) -> String {
        self.write(format!("{line}\r\n").as_bytes()).await;
        self.reply().await
    }
}

impl Lines {
    /// Reads to the end. Each line is shown as well, for whoever looks at a test that failed.
    fn of(stream: impl AsyncRead + Unpin + Send + 'static, what: &'static str) -> Lines {
        let (sender, receiver) = watch::channel(Vec::new());
        tokio::spawn(async move {
            let mut lines = BufReader::new(stream).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                eprintln!("{what}: {line}");
                sender.send_modify(|all| all.push(line));
            }
        });
        Lines(receiver)
    }

    fn so_far(&self) -> Vec<String> {
        self.0.borrow().clone()
    }

    /// The first line that begins so; `None` when the stream ended without.
    async fn wait_for(&self, begin: &str) -> Option<String> {
        let mut lines = self.0.clone();
        let found = |all: &Vec<String>| all.iter().any(|line| line.starts_with(begin));
        let all = timeout(WAIT, lines.wait_for(found)).await.unwrap_or_else(|_| panic!("no line {begin:?}"));
        all.ok().and_then(|all| all.iter().find(|line| line.starts_with(begin)).cloned())
    }

    async fn wait_for_words(&self, words: &str) -> Option<String> {
        let mut lines = self.0.clone();
        let found = |all: &Vec<String>| all.iter().any(|line| line.contains(words));
        let all = timeout(WAIT, lines.wait_for(found)).await.unwrap_or_else(|_| panic!("no line with {words:?}"));
        all.ok().and_then(|all| all.iter().find(|line| line.contains(words)).cloned())
    }

    async fn closed(&self) {
        let mut lines = self.0.clone();
        timeout(WAIT, async { while lines.changed().await.is_ok() {} }).await.expect("the stream ends");
    }
}
