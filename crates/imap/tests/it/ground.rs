//! What the tests stand on: an organisation with one mailbox, a server on loopback, and a client that speaks by hand.

use std::sync::Arc;
use std::time::Duration;

use directory::{Directory, NewAccount, NewOrganisation, NewPerson};
use imap::{ImapConfig, Server};
use mailbox::{Delivery, Embedded, FolderRole, PutBack, TakenOut, deliver_ops, put_back, take_out};
use model::{AccountId, Address, CopyId, Domain, EventKind, MailboxId, Role};
use store::{NewEvent, Store, Submission, Topic, values};
use testkit::rows::{NewCopy, NewMessage};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// The most that a test waits for one thing.
pub const WAIT: Duration = Duration::from_secs(30);
pub const LOGIN: &str = "ada@contoso.example";
pub const PASSWORD: &str = "a long enough password";

pub struct Ground {
    pub store: Store,
    pub directory: Directory,
    pub mailbox_id: MailboxId,
    pub account_id: AccountId,
    pub addr: std::net::SocketAddr,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Ground {
    pub async fn new(store: &Store) -> Ground {
        Ground::with(store, ImapConfig::new("mx.contoso.example".into()), None).await
    }

    pub async fn with(store: &Store, config: ImapConfig, tls: Option<Arc<rustls::ServerConfig>>) -> Ground {
        let domains = vec![Domain::parse("contoso.example").unwrap()];
        let directory = Directory::create(store, NewOrganisation { name: "Contoso".into(), domains }).await.unwrap();
        let address = Address::parse(LOGIN).unwrap();
        let person = NewPerson {
            address: address.clone(),
            name: "Ada".into(),
            department: String::new(),
            city: String::new(),
            language: "en".into(),
            attributes: Default::default(),
        };
        directory.put_people(&[person]).await.unwrap();
        let recipient = directory.recipient(&address).await.unwrap().unwrap();
        let account = NewAccount {
            login: LOGIN.into(),
            name: "Ada".into(),
            role: Role::Recipient,
            person_id: Some(recipient.person_id),
            password: Some(PASSWORD.into()),
        };
        let account_id = directory.create_account(account).await.unwrap().id;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let server = Server::new(config, directory.clone(), tls);
        let stop = CancellationToken::new();
        let task = tokio::spawn({
            let stop = stop.clone();
            async move { server.serve(listener, stop).await }
        });
        let (store, mailbox_id) = (store.clone(), recipient.mailbox_id);
        Ground { store, directory, mailbox_id, account_id, addr, stop, task }
    }

    pub async fn client(&self) -> Client<TcpStream> {
        Client::greeted(TcpStream::connect(self.addr).await.unwrap()).await
    }

    /// A client that is logged in and has the inbox selected.
    pub async fn reader(&self) -> Client<TcpStream> {
        let mut client = self.client().await;
        client.ok(&format!("LOGIN {LOGIN} \"{PASSWORD}\"")).await;
        client.ok("SELECT INBOX").await;
        client
    }

    pub async fn stop(self) {
        self.stop.cancel();
        timeout(WAIT, self.task).await.expect("the server ends").unwrap();
    }

    /// A mail that lands in the inbox, with its copy in the ledger.
    pub async fn arrive(&self, raw: &[u8]) -> CopyId {
        let message = NewMessage::new(&self.store, self.directory.id());
        let copy_id: CopyId = self.store.next_id();
        let delivery = Delivery {
            item_id: self.store.next_id(),
            mailbox_id: self.mailbox_id,
            role: FolderRole::Inbox,
            copy_id,
            message_id: message.id,
            internal_at: self.store.now(),
            safety_tip: String::new(),
        };
        let submission = Submission::with_body(raw.to_vec().into(), move |body| {
            let mut ops = vec![message.op(body)];
            ops.extend(NewCopy::accepted(copy_id, &message, None, LOGIN).ops());
            ops.extend(deliver_ops(&delivery));
            ops
        });
        self.store.commit(submission).await.unwrap();
        self.store.bus().announce(Topic::Mailbox, self.mailbox_id);
        copy_id
    }

    /// Pulls a copy back as a purge does.
    pub async fn purge(&self, copy_id: CopyId) -> Vec<TakenOut> {
        let mut tx = self.store.begin().await.unwrap();
        tx.query("copy.lock", &values![copy_id]).await.unwrap();
        let taken = take_out(&mut tx, &[copy_id]).await.unwrap();
        let event = NewEvent::now(self.directory.id(), copy_id, EventKind::Purged, "purge", self.store.now());
        tx.append_events(&[event]).await.unwrap();
        tx.commit().await.unwrap();
        self.store.bus().announce(Topic::Mailbox, self.mailbox_id);
        taken
    }

    /// Deletes a copy as its owner does in the console.
    pub async fn delete_in_console(&self, copy_id: CopyId) {
        let ids = format!("[{copy_id}]");
        let rows = self.store.query("mailbox.lock_items_of_copies", &values![ids]).await.unwrap();
        let mailbox = Embedded::new(self.store.clone());
        mailbox.delete_item(self.mailbox_id, rows[0].id("id").unwrap(), LOGIN).await.unwrap();
    }

    /// Puts it back as an undo does.
    pub async fn restore(&self, taken: Vec<TakenOut>) {
        let items: Vec<PutBack> = taken
            .into_iter()
            .map(|t| PutBack { copy_id: t.copy_id, message_id: t.message_id, snapshot: t.snapshot })
            .collect();
        let mut tx = self.store.begin().await.unwrap();
        put_back(&mut tx, &items).await.unwrap();
        tx.commit().await.unwrap();
        self.store.bus().announce(Topic::Mailbox, self.mailbox_id);
    }

    /// What the ledger says: place, its detail and the last event.
    pub async fn whereabouts(&self, copy_id: CopyId) -> (String, String, String) {
        let mut tx = self.store.begin().await.unwrap();
        let row = tx.query_one("copy.lock", &values![copy_id]).await.unwrap().unwrap();
        let text = |name: &str| row.text(name).unwrap().to_owned();
        (text("place"), text("place_detail"), text("last_event"))
    }

    pub async fn events(&self, copy_id: CopyId) -> Vec<String> {
        let rows = self.store.query("event.of_copy", &values![copy_id]).await.unwrap();
        rows.iter().map(|row| row.text("kind").unwrap().to_owned()).collect()
    }
}

/// A client that speaks by hand. Answers are shown with their literals in place.
pub struct Client<S> {
    io: BufReader<S>,
    tag: u32,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub fn new(stream: S) -> Self {
        Client { io: BufReader::new(stream), tag: 0 }
    }

    pub async fn greeted(stream: S) -> Self {
        let mut client = Client::new(stream);
        let greeting = client.line().await;
        assert!(greeting.starts_with("* OK ["), "{greeting}");
        client
    }

    pub fn into_inner(self) -> S {
        self.io.into_inner()
    }

    pub async fn write(&mut self, bytes: &[u8]) {
        self.io.get_mut().write_all(bytes).await.expect("the server reads");
        self.io.get_mut().flush().await.expect("the server reads");
    }

    /// One answer; empty at the end of the connection.
    pub async fn line(&mut self) -> String {
        let mut text = Vec::new();
        loop {
            let start = text.len();
            let read = timeout(WAIT, self.io.read_until(b'\n', &mut text)).await.expect("an answer in time");
            if read.unwrap_or(0) == 0 {
                return String::from_utf8_lossy(&text).into_owned();
            }
            let line = String::from_utf8_lossy(&text[start..]).into_owned();
            let literal =
                line.trim_end().strip_suffix('}').and_then(|l| l.rsplit_once('{')).and_then(|l| l.1.parse().ok());
            let Some(bytes) = literal else {
                return String::from_utf8_lossy(&text).trim_end_matches("\r\n").to_owned();
            };
            let mut data = vec![0; bytes];
            timeout(WAIT, self.io.read_exact(&mut data)).await.expect("a literal in time").expect("a literal");
            text.extend_from_slice(&data);
        }
    }

    /// Runs a command; gives what came before the tagged answer, and that without its tag.
    pub async fn run(&mut self, command: &str) -> (Vec<String>, String) {
        self.tag += 1;
        let tag = format!("t{}", self.tag);
        self.write(format!("{tag} {command}\r\n").as_bytes()).await;
        self.until(&tag).await
    }

    async fn until(&mut self, tag: &str) -> (Vec<String>, String) {
        let mut untagged = Vec::new();
        loop {
            let line = self.line().await;
            assert!(!line.is_empty(), "the connection ended after {untagged:?}");
            match line.strip_prefix(tag).and_then(|rest| rest.strip_prefix(' ')) {
                Some(answer) => return (untagged, answer.to_owned()),
                None => untagged.push(line),
            }
        }
    }

    /// Runs a command that is done; gives the untagged answers.
    #[track_caller]
    pub fn ok<'a>(&'a mut self, command: &'a str) -> impl Future<Output = Vec<String>> + 'a {
        let from = std::panic::Location::caller();
        async move {
            let (untagged, answer) = self.run(command).await;
            assert!(answer.starts_with("OK "), "{from}: {command}: {answer}");
            untagged
        }
    }

    /// Runs a command that is refused; gives the tagged answer.
    #[track_caller]
    pub fn refused<'a>(&'a mut self, command: &'a str, begin: &'a str) -> impl Future<Output = String> + 'a {
        let from = std::panic::Location::caller();
        async move {
            let (_, answer) = self.run(command).await;
            assert!(answer.starts_with(begin), "{from}: {command}: {answer}");
            answer
        }
    }

    /// APPEND with a literal that waits.
    pub async fn append(&mut self, arguments: &str, raw: &[u8]) -> String {
        self.tag += 1;
        let tag = format!("t{}", self.tag);
        self.write(format!("{tag} APPEND {arguments} {{{}}}\r\n", raw.len()).as_bytes()).await;
        let go = self.line().await;
        assert!(go.starts_with("+ "), "{go}");
        self.write(raw).await;
        self.write(b"\r\n").await;
        self.until(&tag).await.1
    }
}
