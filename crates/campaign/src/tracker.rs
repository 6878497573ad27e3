//! Where tracking links lead and what is recorded about their use.
//!
//! A token is verified before anything is looked up; one that is not ours is an error and leads nowhere. A hit is
//! durable before it is answered (group commit), raw and unscored; [`Tracker::settle`] scores the hits of a copy
//! together, in one transaction, and again when more of them come.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use data_encoding::HEXLOWER;
use directory::Directory;
use hmac::{Hmac, Mac as _};
use model::{Address, CampaignId, CopyId, HitId, LinkId, SqlText, Timestamp};
use sha2::Sha256;
use store::{Op, Row, Store, Submission, Topic, values};
use tokio_util::sync::CancellationToken;

use crate::CampaignError;
use crate::classify::{Class, Hit, HitKind, Scored, classify};
use crate::token::{Subject, Tokens, Tracked, random};

/// Campaigns whose links are kept in memory; past it the memory is emptied.
const CAMPAIGNS_KEPT_MAX: usize = 512;
/// Bytes of a User-Agent that are kept.
const USER_AGENT_BYTES_MAX: usize = 512;
/// Hits of one copy that are looked at together; whatever comes after them is a machine's.
const HITS_PER_COPY_MAX: i64 = 2_000;
const EXCESS: &str = "far too many fetches of one copy";
/// Copies scored in one transaction.
const SETTLE_BATCH: i64 = 200;
/// How often the worker looks.
const LOOK_MS: u64 = 500;
const DAY_MICROS: i64 = 86_400_000_000;

/// Where a link leads, and whose hit it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The address to redirect to; `None` for the pixel.
    pub url: Option<String>,
    /// The campaign.
    pub campaign_id: CampaignId,
    /// The link; `None` for the pixel.
    pub link_id: Option<LinkId>,
    /// Whose.
    pub subject: Subject,
}

/// What the HTTP side saw of one fetch.
#[derive(Debug, Clone)]
pub struct Fetch<'a> {
    /// When it came in.
    pub at: Timestamp,
    /// GET, HEAD.
    pub method: &'a str,
    /// User-Agent, empty when there was none.
    pub user_agent: &'a str,
    /// The client; kept only as a hash with a salt that lasts a day.
    pub client_ip: IpAddr,
}

#[derive(Debug)]
struct Links(Vec<(LinkId, String)>);

/// Tracking of one organisation. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tracker {
    directory: Directory,
    tokens: Tokens,
    links: Arc<RwLock<HashMap<CampaignId, Arc<Links>>>>,
    salt: Arc<Mutex<(i64, [u8; 16])>>,
}

impl Tracker {
    /// With the organisation's key.
    ///
    /// # Errors
    /// The directory's, when there is no key.
    pub async fn new(directory: Directory) -> Result<Self, CampaignError> {
        let tokens = Tokens::new(directory.mac().await?);
        Ok(Tracker { directory, tokens, links: Arc::default(), salt: Arc::new(Mutex::new((-1, [0; 16]))) })
    }

    /// Reads and makes the tokens.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Where the token of `/t/<token>` leads.
    ///
    /// # Errors
    /// [`CampaignError::Token`]: answer a bare 404.
    pub async fn resolve_click(&self, token: &str) -> Result<Target, CampaignError> {
        let Tracked { campaign_id, link_position, subject } = self.tokens.tracked(token)?;
        let position = usize::from(link_position.ok_or(CampaignError::Token)?);
        let links = self.links(campaign_id).await?;
        let (link_id, url) = links.0.get(position).ok_or(CampaignError::Token)?.clone();
        Ok(Target { url: Some(url), campaign_id, link_id: Some(link_id), subject })
    }

    /// Whose pixel `/o/<token>.gif` is (`token` without the ending).
    ///
    /// # Errors
    /// [`CampaignError::Token`]: answer a bare 404.
    pub async fn resolve_open(&self, token: &str) -> Result<Target, CampaignError> {
        let Tracked { campaign_id, link_position, subject } = self.tokens.tracked(token)?;
        if link_position.is_some() {
            return Err(CampaignError::Token);
        }
        Ok(Target { url: None, campaign_id, link_id: None, subject })
    }

    /// Records a fetch; durable when this returns.
    ///
    /// # Errors
    /// The store's. Answer the person anyway: a lost count is better than a lost page.
    pub async fn record(&self, target: &Target, fetch: &Fetch<'_>) -> Result<HitId, CampaignError> {
        let store = self.directory.store();
        let id: HitId = store.next_id();
        let kind = if target.url.is_some() { HitKind::Click } else { HitKind::Open };
        let row = values![
            id,
            self.directory.id(),
            target.campaign_id,
            target.link_id,
            kind.as_str(),
            target.subject.copy_id(),
            target.subject.key(),
            fetch.at,
            cut(fetch.method, 16),
            cut(fetch.user_agent, USER_AGENT_BYTES_MAX),
            self.client_hash(fetch.client_ip, fetch.at)?,
            Class::Unknown.as_str(),
            "",
        ];
        store.commit(Submission::rows(vec![Op::Insert("hit.insert", row.to_vec())])).await?;
        Ok(id)
    }

    /// Whose unsubscribe token this is, for the page that asks (a GET never unsubscribes: scanners fetch it).
    ///
    /// # Errors
    /// [`CampaignError::Token`]: answer a bare 404.
    pub async fn unsubscribe_target(&self, token: &str) -> Result<Address, CampaignError> {
        let copy_id: CopyId = self.tokens.unsubscribed(token)?;
        let row = self.directory.store().query_one("copy.by_id", &values![copy_id]).await?;
        let row = row.ok_or(CampaignError::Token)?;
        if row.int("organisation_id")? != self.directory.id().0 {
            return Err(CampaignError::Token);
        }
        Address::parse(row.text("recipient")?).map_err(|_| CampaignError::Token)
    }

    /// The POST of RFC 8058: no campaign goes to that address any more. Repeating it changes nothing.
    ///
    /// # Errors
    /// [`CampaignError::Token`], or the store's.
    pub async fn unsubscribe(&self, token: &str) -> Result<Address, CampaignError> {
        let address = self.unsubscribe_target(token).await?;
        crate::Campaigns::new(self.directory.clone()).suppress_as(&address, "unsubscribed", "unsubscribed").await?;
        Ok(address)
    }

    async fn links(&self, campaign_id: CampaignId) -> Result<Arc<Links>, CampaignError> {
        let known = self.links.read().unwrap_or_else(PoisonError::into_inner).get(&campaign_id).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let rows = self.directory.store().query("campaign.links", &values![campaign_id]).await?;
        let links: Vec<(LinkId, String)> = rows
            .iter()
            .map(|row| Ok((row.id("id")?, row.text("url")?.to_owned())))
            .collect::<Result<_, CampaignError>>()?;
        let links = Arc::new(Links(links));
        let mut kept = self.links.write().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= CAMPAIGNS_KEPT_MAX {
            kept.clear();
        }
        kept.insert(campaign_id, Arc::clone(&links));
        Ok(links)
    }

    /// A client's address under a random salt that lasts a day and stands nowhere.
    fn client_hash(&self, ip: IpAddr, at: Timestamp) -> Result<String, CampaignError> {
        let day = at.as_micros().div_euclid(DAY_MICROS);
        let salt = {
            let mut salt = self.salt.lock().unwrap_or_else(PoisonError::into_inner);
            if salt.0 != day {
                *salt = (day, random()?);
            }
            salt.1
        };
        let mut mac = Hmac::<Sha256>::new_from_slice(&salt).expect("HMAC takes keys of any length");
        mac.update(ip.to_string().as_bytes());
        Ok(HEXLOWER.encode(&mac.finalize().into_bytes()[..8]))
    }

    /// Scores what waits, of one campaign or of all; gives how many hits changed.
    ///
    /// # Errors
    /// The store's.
    pub async fn settle(&self, campaign: Option<CampaignId>) -> Result<usize, CampaignError> {
        let store = self.directory.store();
        let mut total = 0;
        loop {
            let rows = match campaign {
                Some(id) => store.query("hit.unsettled_of", &values![id, SETTLE_BATCH]).await?,
                None => store.query("hit.unsettled", &values![SETTLE_BATCH]).await?,
            };
            let mut ready = Vec::new();
            for row in &rows {
                let (campaign_id, nonce) = (row.id::<CampaignId>("campaign_id")?, row.text("nonce")?.to_owned());
                let link_count = self.links(campaign_id).await?.0.len();
                // Most of them wait for the silence: only those that change take a write transaction.
                let found = store.query("hit.of_copy", &values![campaign_id, &nonce, HITS_PER_COPY_MAX]).await?;
                if !changes(&found, link_count, store.now())?.is_empty() || is_excess(&found) {
                    ready.push((campaign_id, nonce, link_count));
                }
            }
            ready.sort_unstable(); // one order for everybody: no deadlock between two scorers
            let changed = self.score(&ready).await?;
            total += changed;
            if changed == 0 || (rows.len() as i64) < SETTLE_BATCH {
                return Ok(total);
            }
        }
    }

    /// Reads all hits of each copy again and writes what became of them, in one transaction.
    async fn score(&self, copies: &[(CampaignId, String, usize)]) -> Result<usize, CampaignError> {
        if copies.is_empty() {
            return Ok(0);
        }
        let store = self.directory.store();
        let now = store.now();
        let mut changed = 0;
        let mut tx = store.begin().await?;
        for (campaign_id, nonce, link_count) in copies {
            let rows = tx.query("hit.of_copy", &values![*campaign_id, nonce, HITS_PER_COPY_MAX]).await?;
            for scored in changes(&rows, *link_count, now)? {
                tx.execute("hit.score", &values![scored.id, scored.class.as_str(), scored.reason]).await?;
                changed += 1;
            }
            if is_excess(&rows) {
                let last = rows.last().map(|row| row.int("at")).transpose()?;
                let values = values![*campaign_id, nonce, last, Class::Machine.as_str(), EXCESS];
                changed += usize::try_from(tx.execute("hit.score_excess", &values).await?).unwrap_or(0);
            }
        }
        tx.commit().await?;
        let mut campaigns: Vec<CampaignId> = copies.iter().map(|(id, ..)| *id).collect();
        campaigns.sort_unstable();
        campaigns.dedup();
        let written = crate::Campaigns::new(self.directory.clone());
        for id in campaigns {
            // Even the moment of the news would tell of a handful of people who read. (News may be lost, scores may not.)
            let Ok(campaign) = written.get(id).await else { continue };
            if self.is_hidden(&campaign).await.is_ok_and(|hidden| !hidden) {
                store.bus().announce(Topic::Campaign, id);
            }
        }
        Ok(changed)
    }

    /// Scores in the background until `stop`. More than one process may do it.
    pub fn start(&self, stop: CancellationToken) -> tokio::task::JoinHandle<()> {
        let tracker = self.clone();
        tokio::spawn(async move {
            loop {
                if let Err(error) = tracker.settle(None).await {
                    tracing::warn!("hits could not be scored now: {error}");
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(Duration::from_millis(LOOK_MS)) => {}
                }
            }
        })
    }

    /// The store.
    pub(crate) fn store(&self) -> &Store {
        self.directory.store()
    }

    /// The organisation's directory.
    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }
}

/// The pixel: a GIF89a of one transparent point.
pub const PIXEL_GIF: &[u8] =
    b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xFF\xFF\xFF!\xF9\x04\x01\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x01D\0;";

/// The hits of a copy whose score is another one now.
fn changes(rows: &[Row], link_count: usize, now: Timestamp) -> Result<Vec<Scored>, CampaignError> {
    let hits: Vec<Hit> = rows.iter().map(hit).collect::<Result<_, _>>()?;
    let mut changed = Vec::new();
    for scored in classify(&hits, link_count, now) {
        let row = rows.iter().find(|row| row.int("id").is_ok_and(|id| id == scored.id.0));
        if let Some(row) = row
            && (row.text("class")? != scored.class.as_str() || row.text("class_reason")? != scored.reason)
        {
            changed.push(scored);
        }
    }
    Ok(changed)
}

fn is_excess(rows: &[Row]) -> bool {
    i64::try_from(rows.len()).is_ok_and(|count| count >= HITS_PER_COPY_MAX)
}

fn cut(text: &str, bytes_max: usize) -> SqlText {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    SqlText::new(&text[..end])
}

fn hit(row: &Row) -> Result<Hit, CampaignError> {
    let kind =
        HitKind::parse(row.text("kind")?).ok_or_else(|| CampaignError::Internal("hit.kind: unknown word".into()))?;
    Ok(Hit {
        id: row.id("id")?,
        kind,
        link_id: row.opt_id("link_id")?,
        at: row.at("at")?,
        method: row.text("method")?.to_owned(),
        user_agent: row.text("user_agent")?.to_owned(),
        client_hash: row.text("client_hash")?.to_owned(),
    })
}
