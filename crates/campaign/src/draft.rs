//! What an author writes, and the checks that need nothing but the text itself.

use model::{AccountId, Address, CampaignId, ListId, OrganisationId, Timestamp};
use serde::{Deserialize, Serialize};
use store::Row;

use crate::state::State;
use crate::template::Template;
use crate::{CampaignError, Problem};

/// Longest name of a campaign, in characters.
pub const NAME_CHARS_MAX: usize = 200;
/// Longest subject, in characters: past it no client shows it, and RFC 5322 2.1.1 ends a line at 998.
pub const SUBJECT_CHARS_MAX: usize = 400;
/// Longest display name of the sender, in characters.
pub const FROM_NAME_CHARS_MAX: usize = 120;
/// Largest content, in bytes.
pub const CONTENT_BYTES_MAX: usize = 1024 * 1024;

/// In what the content is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContentType {
    /// MJML, made to HTML once per campaign.
    Mjml,
    /// HTML as it is.
    Html,
}

/// What the campaign's opens and clicks may tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tracking {
    /// How many people, never who: the default.
    Anonymous,
    /// Who; only where the owner of the organisation switched it on, with purpose and legal basis.
    Individual,
    /// Nothing: no pixel, no rewritten link.
    Off,
}

macro_rules! words {
    ($name:ident { $($variant:ident = $word:literal),+ }) => {
        impl $name {
            /// Every value.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];
            /// The word in SQL and JSON.
            pub const fn as_str(self) -> &'static str { match self { $($name::$variant => $word),+ } }
            /// The value for a word.
            pub fn parse(word: &str) -> Option<Self> { match word { $($word => Some($name::$variant),)+ _ => None } }
        }
    };
}
words!(ContentType { Mjml = "mjml", Html = "html" });
words!(Tracking { Anonymous = "anonymous", Individual = "individual", Off = "off" });

/// What an author writes. Merge fields such as `{{ first_name | default("there") }}` may stand in subject and content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Its name among campaigns.
    pub name: String,
    /// Subject.
    pub subject: String,
    /// Display name of the sender; may be empty.
    pub from_name: String,
    /// Address of the sender, of a domain that the organisation signs for.
    pub from_address: String,
    /// MJML or HTML.
    pub content_type: ContentType,
    /// The content.
    pub content: String,
    /// To whom; needed by `start`.
    pub list_id: Option<ListId>,
    /// What opens and clicks may tell.
    pub tracking: Tracking,
    /// Whether links are rewritten; off keeps every link as it was written.
    pub click_tracking: bool,
}

/// A campaign as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Campaign {
    /// Its id.
    pub id: CampaignId,
    /// Whose.
    pub organisation_id: OrganisationId,
    /// What it says.
    pub draft: Draft,
    /// Where it is in its life.
    pub state: State,
    /// People who get it: frozen when it starts, 0 before.
    pub audience_count: i64,
    /// People of the list left out by the suppression list.
    pub suppressed_count: i64,
    /// Who made it.
    pub created_by: Option<AccountId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// When it was started.
    pub send_started_at: Option<Timestamp>,
    /// When the last copy was handed over or had failed for good.
    pub sent_at: Option<Timestamp>,
}

impl Draft {
    /// Checks everything that needs no database, and compiles the content.
    ///
    /// # Errors
    /// [`CampaignError::Invalid`] with every problem found.
    pub fn check(&self) -> Result<Template, CampaignError> {
        let mut problems = Vec::new();
        line(&mut problems, "name", &self.name, NAME_CHARS_MAX, true);
        line(&mut problems, "subject", &self.subject, SUBJECT_CHARS_MAX, true);
        line(&mut problems, "from_name", &self.from_name, FROM_NAME_CHARS_MAX, false);
        if let Err(error) = Address::parse(&self.from_address) {
            problems.push(Problem::new("from_address", error.to_string()));
        }
        if self.content.len() > CONTENT_BYTES_MAX {
            let message = format!(
                "the content is larger than {CONTENT_BYTES_MAX} bytes: link pictures instead of putting them in"
            );
            problems.push(Problem::new("content", message));
            return Err(CampaignError::Invalid(problems));
        }
        match Template::compile(self) {
            Ok(template) if problems.is_empty() => Ok(template),
            Ok(_) => Err(CampaignError::Invalid(problems)),
            Err(more) => {
                problems.extend(more);
                Err(CampaignError::Invalid(problems))
            }
        }
    }

    /// The sender's address.
    ///
    /// # Errors
    /// [`CampaignError::Invalid`], for a draft that was not checked.
    pub fn from(&self) -> Result<Address, CampaignError> {
        Address::parse(&self.from_address).map_err(|e| CampaignError::invalid("from_address", e.to_string()))
    }
}

/// A header value: one line, not empty where needed, not too long. A line break would begin another header field.
fn line(problems: &mut Vec<Problem>, field: &'static str, text: &str, chars_max: usize, needed: bool) {
    if needed && text.trim().is_empty() {
        problems.push(Problem::new(field, "must not be empty"));
    }
    if text.chars().any(char::is_control) {
        problems.push(Problem::new(field, "must be one line, without line breaks, tabs or other control characters"));
    }
    let count = text.chars().count();
    if count > chars_max {
        problems.push(Problem::new(field, format!("has {count} characters, at most {chars_max} are possible")));
    }
}

impl Campaign {
    /// From the columns of `campaign.by_id`.
    pub(crate) fn from_row(row: &Row) -> Result<Self, CampaignError> {
        let unknown = |column: &str| CampaignError::Internal(format!("campaign.{column}: unknown word"));
        Ok(Campaign {
            id: row.id("id")?,
            organisation_id: row.id("organisation_id")?,
            draft: Draft {
                name: row.text("name")?.to_owned(),
                subject: row.text("subject")?.to_owned(),
                from_name: row.text("from_name")?.to_owned(),
                from_address: row.text("from_address")?.to_owned(),
                content_type: ContentType::parse(row.text("content_type")?).ok_or_else(|| unknown("content_type"))?,
                content: row.text("content")?.to_owned(),
                list_id: row.opt_id("list_id")?,
                tracking: Tracking::parse(row.text("tracking")?).ok_or_else(|| unknown("tracking"))?,
                click_tracking: row.flag("click_tracking")?,
            },
            state: State::parse(row.text("state")?).ok_or_else(|| unknown("state"))?,
            audience_count: row.int("audience_count")?,
            suppressed_count: row.int("suppressed_count")?,
            created_by: row.opt_id("created_by")?,
            created_at: row.at("created_at")?,
            updated_at: row.at("updated_at")?,
            send_started_at: row.opt_at("send_started_at")?,
            sent_at: row.opt_at("sent_at")?,
        })
    }
}
