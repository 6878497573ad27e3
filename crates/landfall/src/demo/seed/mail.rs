//! Mail over SMTP: to everybody from a blocked sender, much of it to one person, and a host that puts all of it off and
//! reports so.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use directory::PeopleFilter;
use model::{Address, Envelope, Reply, ReversePath};
use smtp::{CancellationToken, Client, ClientConfig, Handler, Mail, ServerConfig};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::super::people::{DOMAIN, LOGINS};
use super::causes::BLOCKED;
use crate::error::CliError;
use crate::server::{self, Server};

/// Recipients of one mail, as one transaction takes them (RFC 5321 4.5.3.1.8).
const RECIPIENTS: usize = 100;
/// Connections at a time for one person's mail, and mails of one connection.
const CONNECTIONS: usize = 8;
const MAILS_PER_CONNECTION: usize = 100;
/// What the partners' hosts call themselves.
const PARTNER_HOST: &str = "mx.partner.example";
const SUBJECTS: [&str; 8] = [
    "Minutes of the weekly meeting",
    "Invoice 4711 for your approval",
    "Lunch on Friday?",
    "Re: Draft of the annual report",
    "Build failed on main",
    "Your travel booking",
    "Fwd: Question about the contract",
    "New comment on your document",
];

/// A blocked sender writes to everybody: held.
pub async fn to_everybody(server: &Server, people: usize) -> Result<(), CliError> {
    let mut sender = Sender::connect(server, "mail.blocked.example").await?;
    let from = format!("offers@{BLOCKED}");
    let mut after = None;
    let mut sent = 0;
    while sent < people {
        let filter = PeopleFilter { after, limit: RECIPIENTS as i64, ..PeopleFilter::default() };
        let page = server.directory.people(&filter).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        let inside = page.iter().filter_map(|p| Address::parse(&p.address).ok());
        let recipients: Vec<Address> = inside.filter(|address| address.domain().as_str() == DOMAIN).collect();
        if recipients.is_empty() {
            continue;
        }
        sent += recipients.len();
        let text = Text { from: ("Offers", &from), to: &format!("everybody@{DOMAIN}"), number: sent };
        sender.send(&recipients, &text.mail(&format!("Offer number {sent}"))).await?;
    }
    Ok(())
}

/// Colleagues elsewhere write to one person, `count` times: landed.
pub async fn to_one(server: &Server, count: usize) -> Result<(), CliError> {
    let login = LOGINS[3].1;
    let recipient = Address::parse(login).map_err(|e| CliError::failed(login, &e))?;
    let connection = |first: usize| {
        let recipient = recipient.clone();
        async move {
            let mut sender = None;
            for n in (first..count).step_by(CONNECTIONS) {
                if (n / CONNECTIONS).is_multiple_of(MAILS_PER_CONNECTION) {
                    sender = Some(Sender::connect(server, "mail.fabrikam.example").await?);
                }
                let Some(sender) = sender.as_mut() else { continue };
                let from = format!("colleague{}@fabrikam.example", n % 50);
                let text = Text { from: ("Colleague", &from), to: login, number: n };
                let subject = format!("{} ({n})", SUBJECTS[n % SUBJECTS.len()]);
                sender.send(std::slice::from_ref(&recipient), &text.mail(&subject)).await?;
            }
            Ok::<(), CliError>(())
        }
    };
    futures::future::try_join_all((0..CONNECTIONS).map(connection)).await.map(|_| ())
}

/// The partners' hosts write to the return paths of what they were offered that it will take a while.
pub async fn reports(server: &Server, hosts: &[FullHost], count: usize) -> Result<(), CliError> {
    let mut sender = Sender::connect(server, PARTNER_HOST).await?;
    let offered: Vec<Offer> = hosts.iter().flat_map(FullHost::offered).take(count).collect();
    for (n, offer) in offered.iter().enumerate() {
        let text = format!(
            "From: <mailer-daemon@{PARTNER_HOST}>\r\nTo: <{0}>\r\nSubject: Not yet\r\nDate: {1}\r\n\
             Message-ID: <{n}.late@{PARTNER_HOST}>\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=delivery-status; boundary=r\r\n\r\n\
             --r\r\n\r\nThe mailbox is full, we go on trying.\r\n--r\r\nContent-Type: message/delivery-status\r\n\r\n\
             Reporting-MTA: dns; {PARTNER_HOST}\r\n\r\nFinal-Recipient: rfc822; {2}\r\nAction: delayed\r\nStatus: 4.2.2\r\n\
             --r--\r\n",
            offer.return_path,
            server::now().to_rfc5322(),
            offer.recipient,
        );
        sender.send(std::slice::from_ref(&offer.return_path), &(ReversePath::default(), text)).await?;
    }
    Ok(())
}

struct Text<'a> {
    from: (&'a str, &'a str),
    to: &'a str,
    number: usize,
}

impl Text<'_> {
    fn mail(&self, subject: &str) -> (ReversePath, String) {
        let (name, from) = self.from;
        let host = from.split_once('@').map_or(from, |(_, host)| host);
        let text = format!(
            "From: {name} <{from}>\r\nTo: {}\r\nSubject: {subject}\r\nDate: {}\r\nMessage-ID: <{}@{host}>\r\n\r\n\
             Number {}, see https://{host}/{}\r\n",
            self.to,
            server::now().to_rfc5322(),
            self.number,
            self.number,
            self.number
        );
        (from.parse().unwrap_or_default(), text)
    }
}

/// One connection to the gateway.
struct Sender(Client);

impl Sender {
    async fn connect(server: &Server, name: &str) -> Result<Sender, CliError> {
        let client = Client::connect(server.smtp[0], ClientConfig::new(name)).await;
        Ok(Sender(client.map_err(|e| CliError::failed("connect", &e))?))
    }

    async fn send(
        &mut self,
        recipients: &[Address],
        (reverse_path, text): &(ReversePath, String),
    ) -> Result<(), CliError> {
        let mail = Mail { reverse_path, recipients };
        let outcome = self.0.send(&mail, text.as_bytes()).await.map_err(|e| CliError::failed("send", &e))?;
        if outcome.data.as_ref().is_some_and(Reply::is_completion) {
            return Ok(());
        }
        Err(CliError::Failed(format!("the gateway did not take the mail: {outcome:?}")))
    }
}

/// A copy that a host was offered.
#[derive(Clone)]
struct Offer {
    return_path: Address,
    recipient: Address,
}

/// A host whose mailboxes are all full. It says so of each, which is no word about how much it is sent: the agent does not
/// slow down, and every copy is tried.
pub struct FullHost {
    /// Where it listens.
    pub addr: SocketAddr,
    full: Arc<Full>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

#[derive(Default)]
struct Full {
    offered: Mutex<Vec<Offer>>,
}

impl Full {
    /// RFC 3463 3.3: X.2.2, the mailbox is full.
    fn reply() -> Reply {
        Reply::transient(452, (2, 2), "the mailbox is full, please try again later")
    }
}

impl Handler for Full {
    async fn rcpt(&self, envelope: &Envelope, recipient: &Address) -> Result<(), Reply> {
        if let Some(return_path) = envelope.reverse_path.address() {
            let offer = Offer { return_path: return_path.clone(), recipient: recipient.clone() };
            self.offered.lock().unwrap_or_else(PoisonError::into_inner).push(offer);
        }
        Err(Full::reply())
    }

    async fn data(&self, _: Envelope, _: Vec<u8>) -> Reply {
        Full::reply()
    }
}

impl FullHost {
    /// Starts on a free port of loopback.
    pub async fn start() -> Result<FullHost, CliError> {
        let failed = |e: std::io::Error| CliError::failed("the full host", &e);
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        let stop = CancellationToken::new();
        let mut config = ServerConfig::new(PARTNER_HOST);
        // It never hangs up on who asks often: that would be a word about how much it is sent.
        (config.errors_max, config.refused_recipients_max) = (u32::MAX, u32::MAX);
        let full = Arc::new(Full::default());
        let host = smtp::Server::new(config, None, full.clone());
        let until = stop.clone();
        let serving = tokio::spawn(async move { host.serve(listener, until).await });
        Ok(FullHost { addr, full, stop, serving })
    }

    fn offered(&self) -> Vec<Offer> {
        self.full.offered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends it.
    pub async fn stop(self) {
        self.stop.cancel();
        let _ = self.serving.await;
    }
}
