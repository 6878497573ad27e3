//! The people who read, and the machine that scans. They know only what a recipient knows: they sign in, fetch their
//! message over the mailbox API, and take links and pixel out of the HTML that they received. What they did is the
//! truth that the server's counts are compared with.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures::{StreamExt, stream};
use lol_html::{RewriteStrSettings, element, rewrite_str};
use message::Limits;

use super::client::{Session, Web};
use super::people::{LOGINS, PASSWORD};
use super::report::Reach;
use super::stage::{Stage, invitations};
use crate::error::CliError;

/// People who read at the same time.
const READERS: usize = 250;
const SCANNERS: usize = 8;
/// The second reported kind of scanner comes so long after the mail.
pub const LATE_SCAN_S: u64 = 30;

/// What the simulator did, counted by reader, as a person would count.
#[derive(Debug, Default)]
pub struct Truth {
    people_opened: AtomicI64,
    people_clicked: AtomicI64,
    machines_opened: AtomicI64,
    machines_clicked: AtomicI64,
}

impl Truth {
    /// People and machines.
    pub fn reach(&self) -> (Reach, Reach) {
        let at = |n: &AtomicI64| n.load(Ordering::SeqCst);
        (
            Reach { opened: at(&self.people_opened), clicked: at(&self.people_clicked) },
            Reach { opened: at(&self.machines_opened), clicked: at(&self.machines_clicked) },
        )
    }
}

fn count(n: &AtomicI64) {
    n.fetch_add(1, Ordering::SeqCst);
}

/// A person in front of their mailbox.
struct Reader {
    session: Session,
    web: Web,
    number: u64,
    item: String,
    pixel: String,
    links: Vec<String>,
    other_addresses: Vec<String>,
}

/// The recipients of the first campaign, signed in, each with the copy that reached them.
pub struct Audience {
    readers: Vec<Arc<Reader>>,
    truth: Arc<Truth>,
}

impl Audience {
    /// Everybody signs in and fetches what arrived.
    pub async fn gather(stage: &Stage) -> Result<Audience, CliError> {
        let mut tokens: Vec<(String, Option<String>)> =
            LOGINS.iter().map(|(_, login, _)| ((*login).to_owned(), None)).collect();
        tokens
            .extend(invitations(&stage.server.directory).await?.into_iter().map(|(login, token)| (login, Some(token))));
        let readers = stream::iter(tokens.into_iter().enumerate())
            .map(|(number, (login, token))| async move {
                let session = match token {
                    Some(token) => stage.web.sign_in_by_link(&token).await?,
                    None => stage.web.sign_in(&login, PASSWORD).await?,
                };
                open_mailbox(session, stage, number as u64).await
            })
            .buffer_unordered(SCANNERS)
            .collect::<Vec<Result<Option<Reader>, CliError>>>()
            .await;
        let readers: Vec<Option<Reader>> = readers.into_iter().collect::<Result<_, _>>()?;
        Ok(Audience { readers: readers.into_iter().flatten().map(Arc::new).collect(), truth: Arc::default() })
    }

    /// How many found the message in their mailbox.
    pub fn len(&self) -> usize {
        self.readers.len()
    }

    /// What was done so far.
    pub fn truth(&self) -> &Truth {
        &self.truth
    }

    /// A link scanner with a browser's User-Agent and no mark fetches every address of a fifth of the copies, quickly.
    pub async fn scan_at_once(&self) -> Result<(), CliError> {
        self.scan(|reader| reader.number % 5 == 0).await
    }

    /// The second reported case: the same on other copies, half a minute after they came. Runs beside the story.
    pub fn scan_late(&self) -> tokio::task::JoinHandle<Result<(), CliError>> {
        let late = Audience { readers: self.readers.clone(), truth: self.truth.clone() };
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(LATE_SCAN_S)).await;
            late.scan(|reader| reader.number % 10 == 1).await
        })
    }

    async fn scan(&self, chosen: impl Fn(&Reader) -> bool) -> Result<(), CliError> {
        let copies: Vec<Arc<Reader>> = self.readers.iter().filter(|r| chosen(r)).cloned().collect();
        let scans = stream::iter(copies)
            .map(|reader| async move { reader.scan().await.map(|()| self.truth.clone()) })
            .buffer_unordered(SCANNERS)
            .collect::<Vec<_>>()
            .await;
        for scan in scans {
            let truth = scan?;
            count(&truth.machines_opened);
            count(&truth.machines_clicked);
        }
        Ok(())
    }

    /// Seven of ten read; some of them follow a link or two, flag the mail or move it.
    pub async fn read(&self) -> Result<(), CliError> {
        let readings = stream::iter(self.readers.iter().cloned())
            .map(|reader| {
                let truth = self.truth.clone();
                async move { reader.read(&truth).await }
            })
            .buffer_unordered(READERS)
            .collect::<Vec<_>>()
            .await;
        readings.into_iter().collect()
    }
}

/// The newest message of the inbox, with what its HTML fetches and links to.
async fn open_mailbox(session: Session, stage: &Stage, number: u64) -> Result<Option<Reader>, CliError> {
    let folders = session.get("/mailbox/folders").await?;
    let inbox = folders.as_array().into_iter().flatten().find(|f| f["role"] == "inbox");
    let Some(inbox) = inbox.and_then(|f| f["id"].as_str()) else { return Ok(None) };
    let items = session.get(&format!("/mailbox/folders/{inbox}/items?limit=1")).await?;
    let Some(item) = items["items"][0]["id"].as_str().map(str::to_owned) else { return Ok(None) };
    let raw = session.get_bytes(&format!("/mailbox/items/{item}/raw")).await?;
    let html = message::preview::read(&raw, &Limits::default()).html.unwrap_or_default();
    let base = format!("http://{}", stage.tracking_host);
    let (pixel, links, other_addresses) = addresses(&html, &base)?;
    Ok(Some(Reader { session, web: stage.web.clone(), number, item, pixel, links, other_addresses }))
}

/// The pixel, the tracked links, and every other address of the tracking host (the unsubscribe page).
fn addresses(html: &str, base: &str) -> Result<(String, Vec<String>, Vec<String>), CliError> {
    let (mut images, mut links) = (Vec::new(), Vec::new());
    let settings = RewriteStrSettings::new()
        .append_element_content_handler(element!("img[src]", |e| {
            images.extend(e.get_attribute("src"));
            Ok(())
        }))
        .append_element_content_handler(element!("a[href]", |e| {
            links.extend(e.get_attribute("href"));
            Ok(())
        }));
    rewrite_str(html, settings).map_err(|e| CliError::failed("read a message's HTML", &e))?;
    let pixel = images.into_iter().find(|src| src.starts_with(&format!("{base}/o/"))).unwrap_or_default();
    let ours: Vec<String> = links.into_iter().filter(|href| href.starts_with(base)).collect();
    let (mut tracked, other): (Vec<_>, Vec<_>) =
        ours.into_iter().partition(|href| href.starts_with(&format!("{base}/t/")));
    tracked.dedup();
    Ok((pixel, tracked, other))
}

impl Reader {
    async fn scan(&self) -> Result<(), CliError> {
        let all = [&self.pixel].into_iter().chain(&self.links).chain(&self.other_addresses).filter(|a| !a.is_empty());
        for address in all {
            self.web.fetch(address).await?;
        }
        Ok(())
    }

    async fn read(&self, truth: &Truth) -> Result<(), CliError> {
        let mut random = fastrand::Rng::with_seed(719_348 + self.number);
        if random.f32() >= 0.7 {
            return Ok(());
        }
        // People do not open all at the same instant, and never on top of the scanner.
        pause(&mut random, 2_300, 5_500).await;
        self.session.patch(&format!("/mailbox/items/{}", self.item), serde_json::json!({ "seen": true })).await?;
        if !self.pixel.is_empty() {
            self.web.fetch(&self.pixel).await?;
            count(&truth.people_opened);
        }
        let clicks = if random.f32() < 0.4 { random.usize(1..=2) } else { 0 };
        for n in 0..clicks.min(self.links.len()) {
            pause(&mut random, 2_300, 3_800).await;
            self.web.fetch(&self.links[(self.number as usize + n * 3) % self.links.len()]).await?;
        }
        if clicks > 0 && !self.links.is_empty() {
            count(&truth.people_clicked);
        }
        if random.f32() < 0.15 {
            let flagged = serde_json::json!({ "flagged": true, "keywords": ["follow-up"] });
            self.session.patch(&format!("/mailbox/items/{}", self.item), flagged).await?;
        }
        if random.f32() < 0.2 {
            self.file_away().await?;
        }
        Ok(())
    }

    /// Into the archive.
    async fn file_away(&self) -> Result<(), CliError> {
        let folders = self.session.get("/mailbox/folders").await?;
        let archive = folders.as_array().into_iter().flatten().find(|f| f["role"] == "archive");
        if let Some(folder) = archive.and_then(|f| f["id"].as_str()) {
            let to = serde_json::json!({ "folder_id": folder });
            self.session.post(&format!("/mailbox/items/{}/move", self.item), to).await?;
        }
        Ok(())
    }
}

async fn pause(random: &mut fastrand::Rng, from_ms: u64, to_ms: u64) {
    tokio::time::sleep(Duration::from_millis(random.u64(from_ms..to_ms))).await;
}
