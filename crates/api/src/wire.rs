//! Types that many resources share on the wire: ids and times as text, words of the model, pages.

use std::borrow::Cow;

use model::Timestamp;
use serde::{Deserialize, Serialize, Serializer};
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::openapi::{KnownFormat, RefOr};
use utoipa::{PartialSchema, ToSchema};

use crate::problem::{Kind, Problem};

/// The most items of one page.
pub const PAGE_MAX: u32 = 200;
/// Items of a page when nobody asks for a number.
pub const PAGE_DEFAULT: u32 = 50;

/// An id: a decimal string, since JavaScript's numbers end at 2^53.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id(pub i64);

/// Any id as it goes on the wire.
pub fn id(raw: impl Into<i64>) -> Id {
    Id(raw.into())
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <Cow<'de, str>>::deserialize(d)?;
        text.parse()
            .map(Id)
            .map_err(|_| serde::de::Error::custom("an id is a decimal number in quotes, such as \"12\""))
    }
}

impl PartialSchema for Id {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::String).pattern(Some("^-?[0-9]+$")).into()
    }
}
impl ToSchema for Id {}

/// An instant: RFC 3339 in UTC, to the millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct At(pub Timestamp);

impl Serialize for At {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0.to_rfc3339())
    }
}

impl<'de> Deserialize<'de> for At {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <Cow<'de, str>>::deserialize(d)?;
        Timestamp::parse_rfc3339(&text)
            .map(At)
            .ok_or_else(|| serde::de::Error::custom("a time is written as 2026-11-22T10:14:03Z (RFC 3339)"))
    }
}

impl PartialSchema for At {
    fn schema() -> RefOr<Schema> {
        let format = SchemaFormat::KnownFormat(KnownFormat::DateTime);
        ObjectBuilder::new().schema_type(Type::String).format(Some(format)).into()
    }
}
impl ToSchema for At {}

impl From<At> for Timestamp {
    fn from(at: At) -> Self {
        at.0
    }
}

impl From<Timestamp> for At {
    fn from(at: Timestamp) -> Self {
        At(at)
    }
}

/// Words of the model as they go on the wire, with their values in the OpenAPI document.
macro_rules! words {
    ($($(#[$doc:meta])* $name:ident($of:ty)),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $of);

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let words = <$of>::ALL.iter().map(|word| word.as_str());
                ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)).into()
            }
        }
        impl ToSchema for $name {}
        impl From<$of> for $name {
            fn from(word: $of) -> Self { $name(word) }
        }
    )+};
}

words! {
    /// Where a copy is.
    Place(model::Place),
    /// What last happened to a copy.
    LastEvent(model::LastEvent),
    /// The kind of an entry in the event log.
    EventKind(model::EventKind),
    /// The class of a verdict.
    VerdictClass(model::VerdictClass),
    /// How sure a verdict is.
    Confidence(model::Confidence),
    /// Why a copy is held.
    QuarantineReason(model::QuarantineReason),
    /// The release status of a held copy.
    ReleaseStatus(model::ReleaseStatus),
    /// A role.
    Role(model::Role),
    /// One thing that an account may do.
    Permission(model::Permission),
    /// One authentication result.
    AuthResult(model::AuthResult),
}

/// A page of a list. `next` is the cursor for `?after=`; `null` on the last page.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// What to give as `after` for the next page.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// A page whose next cursor is the last item's id when the page is full.
    pub fn by_id(items: Vec<T>, limit: u32, id_of: impl Fn(&T) -> Id) -> Self {
        let full = items.len() >= limit as usize;
        let next = items.last().filter(|_| full).map(|item| id_of(item).0.to_string());
        Page { items, next }
    }
}

/// The number of items asked for, within bounds.
pub fn limit_of(limit: Option<u32>) -> Result<u32, Problem> {
    match limit.unwrap_or(PAGE_DEFAULT) {
        n @ 1..=PAGE_MAX => Ok(n),
        n => Err(Problem::invalid("limit", format!("limit is {n}; it can be 1 to {PAGE_MAX}. Use `after` for more."))),
    }
}

/// The cursor of a list that is ordered by id.
pub fn after_id(after: Option<&str>) -> Result<Option<i64>, Problem> {
    after.map(|text| text.parse().map_err(|_| bad_cursor())).transpose()
}

/// The cursor is not one of this list.
pub fn bad_cursor() -> Problem {
    Problem::new(
        Kind::BadRequest,
        "`after` is not a cursor of this list: give the `next` of its last page, or leave it out.",
    )
    .at("after")
}

/// Copies by place.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PlaceCount {
    /// Where.
    pub place: Place,
    /// How many copies.
    pub count: i64,
}

impl PlaceCount {
    /// Every place that has copies, in the order of the ledger's words.
    pub fn all(count_at: impl Fn(model::Place) -> i64) -> Vec<PlaceCount> {
        let count = |place: &model::Place| PlaceCount { place: (*place).into(), count: count_at(*place) };
        model::Place::ALL.iter().map(count).filter(|place| place.count != 0).collect()
    }
}

/// Copies by last event.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct EventCount {
    /// What last happened.
    pub last_event: LastEvent,
    /// How many copies.
    pub count: i64,
}

impl EventCount {
    /// Every last event that has copies, in the order of the ledger's words.
    pub fn all(count_of: impl Fn(model::LastEvent) -> i64) -> Vec<EventCount> {
        let count = |event: &model::LastEvent| EventCount { last_event: (*event).into(), count: count_of(*event) };
        model::LastEvent::ALL.iter().map(count).filter(|event| event.count != 0).collect()
    }
}

/// One value of a facet or group and how often it occurs.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ValueCount {
    /// The value, as a filter takes it.
    pub value: String,
    /// The value for people.
    pub label: String,
    /// How many.
    pub count: i64,
}

/// One finding of a rule.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Signal {
    /// The rule's id.
    pub rule: String,
    /// The rule's behaviour version.
    pub rule_version: u16,
    /// Points under the rule set in force.
    pub weight: f32,
    /// The class it speaks for.
    pub class: VerdictClass,
    /// For people.
    pub sentence: String,
    /// What was seen.
    pub evidence: String,
    /// The feed or list entry it comes from.
    pub origin: Option<String>,
    /// The change that put that entry in force.
    pub change_id: Option<Id>,
}

/// What was concluded about a message.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Verdict {
    /// The class.
    pub class: VerdictClass,
    /// How sure.
    pub confidence: Confidence,
    /// For people.
    pub sentence: String,
    /// Findings, the deciding ones first.
    pub signals: Vec<Signal>,
    /// Bulk complaint level, 0 to 9.
    pub bulk_level: u8,
    /// Allow entries that lowered the class.
    pub allowed_by: Vec<String>,
    /// The rule set version that judged.
    pub rule_set_id: Id,
}

/// How many of an action were done, were so already, or were refused.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ActionOutcome {
    /// What was done, in one sentence; says so when nothing had to change.
    pub sentence: String,
    /// Done now.
    pub done_count: i64,
    /// Were so already: nothing changed.
    pub unchanged_count: i64,
    /// Refused, with the reasons.
    pub refused_count: i64,
    /// The first reasons for refusals.
    pub refused: Vec<Refusal>,
    /// The job that does the rest, when it is long work.
    pub job_id: Option<Id>,
}

/// Why one item was refused.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Refusal {
    /// The item.
    pub id: Id,
    /// Why, and what to do.
    pub why: String,
}

impl From<&model::Verdict> for Verdict {
    fn from(v: &model::Verdict) -> Self {
        Verdict {
            class: v.class.into(),
            confidence: v.confidence.into(),
            sentence: verdict::sentence(v),
            signals: v.signals.iter().map(Signal::from).collect(),
            bulk_level: v.bulk_level,
            allowed_by: v.allowed_by.clone(),
            rule_set_id: id(v.rule_set_id),
        }
    }
}

impl From<&model::Signal> for Signal {
    fn from(s: &model::Signal) -> Self {
        Signal {
            rule: s.rule.clone(),
            rule_version: s.rule_version,
            weight: s.weight,
            class: s.class.into(),
            sentence: s.sentence.clone(),
            evidence: s.evidence.clone(),
            origin: s.origin.clone(),
            change_id: s.change_id.map(id),
        }
    }
}
