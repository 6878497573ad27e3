//! SEARCH (RFC 3501 6.4.4): every key, in steps. What flags and numbers decide costs no read; what dates and sizes decide,
//! a row; what the header decides, its bytes; only the rest reads a whole message.

use std::collections::HashMap;

use bytes::Bytes;
use imap_codec::imap_types::search::SearchKey;
use imap_codec::imap_types::sequence::SequenceSet;
use mailbox::{Content, Embedded};
use message::Limits;
use message::structure::{Inside, Part, decoded_field, decoded_text, field_values, structure};
use model::{MailboxId, Timestamp};
use store::{BodyRef, StoreError};

use crate::command::SearchReturn;
use crate::config::PAGE;
use crate::fetch::{FetchError, read_header};
use crate::memory::{Memory, NoRoom};
use crate::syntax::{number_set, sent_day};
use crate::view::{Item, View, wire_modseq};

/// What is known of a message so far.
struct Known<'a> {
    item: &'a Item,
    index: usize,
    content: Option<&'a Content>,
    header: Option<&'a [u8]>,
    text: Option<&'a Text>,
    now: Timestamp,
}

/// The words of a message, in lower case.
struct Text {
    header: String,
    body: String,
}

/// The sets of a search, resolved once. Known by where they lie in the command, which does not move meanwhile.
pub(crate) struct Sets(HashMap<usize, Vec<usize>>);

impl Sets {
    /// The sets of these keys. A message number that there is none of fits no message.
    pub(crate) fn of(view: &View, keys: &[SearchKey<'static>]) -> Sets {
        let mut sets = Sets(HashMap::new());
        keys.iter().for_each(|key| sets.gather(view, key));
        sets
    }

    fn gather(&mut self, view: &View, key: &SearchKey<'static>) {
        let (set, by_uid) = match key {
            SearchKey::And(keys) => return keys.as_ref().iter().for_each(|key| self.gather(view, key)),
            SearchKey::Not(key) => return self.gather(view, key),
            SearchKey::Or(a, b) => {
                self.gather(view, a);
                return self.gather(view, b);
            }
            SearchKey::SequenceSet(set) => (set, false),
            SearchKey::Uid(set) => (set, true),
            _ => return,
        };
        self.0.insert(std::ptr::from_ref(set).addr(), view.resolve_known(set, by_uid));
    }

    fn has(&self, set: &SequenceSet, index: usize) -> bool {
        let found = self.0.get(&std::ptr::from_ref(set).addr());
        found.is_some_and(|found| found.binary_search(&index).is_ok())
    }
}

/// In whose mailbox is searched.
pub(crate) struct Whose<'a> {
    pub(crate) mailbox: &'a Embedded,
    pub(crate) memory: &'a Memory,
    pub(crate) mailbox_id: MailboxId,
}

/// The indexes of the messages that all keys fit, ascending.
pub(crate) async fn search(
    whose: &Whose<'_>,
    view: &View,
    keys: &[SearchKey<'static>],
    sets: &Sets,
) -> Result<Result<Vec<usize>, NoRoom>, FetchError> {
    let now = whose.mailbox.store().now();
    let mut found = Vec::new();
    let mut undecided = Vec::new();
    for (index, item) in view.items.iter().enumerate().filter(|(_, item)| !item.gone) {
        let known = Known { item, index, content: None, header: None, text: None, now };
        match all(keys, &known, sets) {
            Some(true) => found.push(index),
            Some(false) => {}
            None => undecided.push(index),
        }
    }
    for page in undecided.chunks(PAGE) {
        let contents = whose.mailbox.contents(view.folder.id, &view.uids_at(page)).await?;
        for index in page {
            let item = &view.items[*index];
            let Ok(at) = contents.binary_search_by_key(&item.uid, |c| c.uid) else { continue };
            let known = Known { item, index: *index, content: Some(&contents[at]), header: None, text: None, now };
            match whose.fits(keys, known, &contents[at].body, sets).await {
                Ok(Ok(true)) => found.push(*index),
                Ok(Ok(false)) => {}
                Ok(Err(NoRoom)) => return Ok(Err(NoRoom)),
                // One that is damaged does not keep anybody from finding the others.
                Err(error @ StoreError::Body { .. }) => {
                    tracing::error!(%error, "a stored message cannot be searched: {error}");
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    found.sort_unstable();
    Ok(Ok(found))
}

impl Whose<'_> {
    /// Reads as much of a message as has to be known.
    async fn fits(
        &self,
        keys: &[SearchKey<'static>],
        known: Known<'_>,
        body: &BodyRef,
        sets: &Sets,
    ) -> Result<Result<bool, NoRoom>, StoreError> {
        if let Some(fits) = all(keys, &known, sets) {
            return Ok(Ok(fits));
        }
        let store = self.mailbox.store();
        let header = read_header(store, body).await?;
        let known = Known { header: Some(&header), ..known };
        if let Some(fits) = all(keys, &known, sets) {
            return Ok(Ok(fits));
        }
        // The message and its words.
        let Ok(_room) = self.memory.take(self.mailbox_id, body.bytes.saturating_mul(2)).await else {
            return Ok(Err(NoRoom));
        };
        let text = text_of(&store.body(body).await?);
        let known = Known { text: Some(&text), ..known };
        Ok(Ok(all(keys, &known, sets).unwrap_or(false)))
    }
}

/// `None`: more has to be known.
fn all(keys: &[SearchKey<'static>], known: &Known<'_>, sets: &Sets) -> Option<bool> {
    let mut certain = true;
    for key in keys {
        match fits(key, known, sets) {
            Some(true) => {}
            Some(false) => return Some(false),
            None => certain = false,
        }
    }
    certain.then_some(true)
}

fn fits(key: &SearchKey<'static>, known: &Known<'_>, sets: &Sets) -> Option<bool> {
    let flags = &known.item.flags;
    let has_keyword = |word: &str| flags.keywords.iter().any(|k| k.eq_ignore_ascii_case(word));
    let at = || known.content.map(|c| c.internal_at.as_micros());
    let day = || at().map(|at| at.div_euclid(86_400_000_000));
    let bytes = || known.content.map(|c| c.body.bytes);
    let age_s = || at().map(|at| (known.now.as_micros() - at).div_euclid(1_000_000));
    let sent = |fits: &dyn Fn(i64) -> bool| {
        let header = known.header?;
        let date = field_values(header, "Date").first().and_then(|value| sent_day(value));
        Some(date.is_some_and(fits))
    };
    match key {
        SearchKey::And(keys) => all(keys.as_ref(), known, sets),
        SearchKey::Not(key) => fits(key, known, sets).map(|fits| !fits),
        SearchKey::Or(a, b) => match (fits(a, known, sets), fits(b, known, sets)) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            _ => None,
        },
        SearchKey::SequenceSet(set) | SearchKey::Uid(set) => Some(sets.has(set, known.index)),
        SearchKey::All => Some(true),
        // RFC 7162 3.1.5: where flags have no numbers of their own, the message's counts for all of them.
        SearchKey::ModSequence { modseq, .. } => Some(wire_modseq(known.item.modseq) >= *modseq),
        SearchKey::Answered => Some(flags.answered),
        SearchKey::Unanswered => Some(!flags.answered),
        SearchKey::Deleted => Some(flags.deleted),
        SearchKey::Undeleted => Some(!flags.deleted),
        SearchKey::Draft => Some(flags.draft),
        SearchKey::Undraft => Some(!flags.draft),
        SearchKey::Flagged => Some(flags.flagged),
        SearchKey::Unflagged => Some(!flags.flagged),
        SearchKey::Seen => Some(flags.seen),
        SearchKey::Unseen => Some(!flags.seen),
        SearchKey::Recent => Some(known.item.recent),
        SearchKey::Old => Some(!known.item.recent),
        SearchKey::New => Some(known.item.recent && !flags.seen),
        SearchKey::Keyword(word) => Some(has_keyword(word.as_ref())),
        SearchKey::Unkeyword(word) => Some(!has_keyword(word.as_ref())),
        SearchKey::Larger(n) => bytes().map(|b| b > u64::from(*n)),
        SearchKey::Smaller(n) => bytes().map(|b| b < u64::from(*n)),
        SearchKey::Before(date) => day().map(|d| d < days(date)),
        SearchKey::On(date) => day().map(|d| d == days(date)),
        SearchKey::Since(date) => day().map(|d| d >= days(date)),
        SearchKey::Older(seconds) => age_s().map(|age| age >= i64::from(seconds.get())),
        SearchKey::Younger(seconds) => age_s().map(|age| age <= i64::from(seconds.get())),
        SearchKey::SentBefore(date) => sent(&|d| d < days(date)),
        SearchKey::SentOn(date) => sent(&|d| d == days(date)),
        SearchKey::SentSince(date) => sent(&|d| d >= days(date)),
        SearchKey::Bcc(text) => in_field(known, b"Bcc", text.as_ref()),
        SearchKey::Cc(text) => in_field(known, b"Cc", text.as_ref()),
        SearchKey::From(text) => in_field(known, b"From", text.as_ref()),
        SearchKey::To(text) => in_field(known, b"To", text.as_ref()),
        SearchKey::Subject(text) => in_field(known, b"Subject", text.as_ref()),
        SearchKey::Header(name, text) => in_field(known, name.as_ref(), text.as_ref()),
        SearchKey::Body(text) => known.text.map(|t| t.body.contains(&lower(text.as_ref()))),
        SearchKey::Text(text) => {
            let word = lower(text.as_ref());
            known.text.map(|t| t.header.contains(&word) || t.body.contains(&word))
        }
    }
}

fn in_field(known: &Known<'_>, name: &[u8], text: &[u8]) -> Option<bool> {
    let header = known.header?;
    let name = String::from_utf8_lossy(name);
    let word = lower(text);
    let values = field_values(header, &name);
    Some(values.iter().any(|value| decoded_field(value).to_lowercase().contains(&word)))
}

fn lower(text: &[u8]) -> String {
    String::from_utf8_lossy(text).to_lowercase()
}

/// A date of a search as days since 1970.
fn days(date: &imap_codec::imap_types::datetime::NaiveDate) -> i64 {
    let midnight = date.as_ref().and_hms_opt(0, 0, 0).expect("midnight is a time");
    midnight.and_utc().timestamp().div_euclid(86_400)
}

/// Header fields decoded, and the text of all text parts, enclosed messages and their headers included.
fn text_of(raw: &Bytes) -> Text {
    let top = structure(raw, &Limits::default());
    let mut text = Text { header: header_text(&raw[top.header.clone()]), body: String::new() };
    gather(raw, &top, &mut text.body);
    text.header = text.header.to_lowercase();
    text.body = text.body.to_lowercase();
    text
}

fn header_text(header: &[u8]) -> String {
    // Names and values, line by line, decoded: what a reader sees.
    let unfolded: Vec<u8> = header.to_vec();
    let mut out = String::new();
    let mut field: Vec<u8> = Vec::new();
    let mut close = |field: &mut Vec<u8>| {
        if !field.is_empty() {
            out.push_str(&decoded_field(field));
            out.push('\n');
            field.clear();
        }
    };
    for line in unfolded.split(|b| *b == b'\n') {
        if !line.first().is_some_and(|b| b" \t".contains(b)) {
            close(&mut field);
        }
        field.extend(line.iter().filter(|b| **b != b'\r'));
    }
    close(&mut field);
    out
}

fn gather(raw: &[u8], part: &Part, out: &mut String) {
    match &part.inside {
        Inside::Parts(parts) => parts.iter().for_each(|part| gather(raw, part, out)),
        Inside::Message(inner) => {
            out.push_str(&header_text(&raw[inner.header.clone()]));
            gather(raw, inner, out);
        }
        Inside::Nothing if part.media_type == "text" => {
            out.push_str(&decoded_text(raw, part));
            out.push('\n');
        }
        Inside::Nothing => {}
    }
}

/// Whether a search asks for mod-sequences, which its answer gives then (RFC 7162 3.1.5).
pub(crate) fn asks_modseq(keys: &[SearchKey<'static>]) -> bool {
    keys.iter().any(|key| match key {
        SearchKey::ModSequence { .. } => true,
        SearchKey::And(keys) => asks_modseq(keys.as_ref()),
        SearchKey::Not(key) => asks_modseq(std::slice::from_ref(key)),
        SearchKey::Or(a, b) => asks_modseq(std::slice::from_ref(a)) || asks_modseq(std::slice::from_ref(b)),
        _ => false,
    })
}

/// The untagged answer: SEARCH, or ESEARCH where options were given (RFC 4731).
pub(crate) fn answer(
    view: &View,
    found: &[usize],
    with_modseq: bool,
    by_uid: bool,
    returns: Option<&[SearchReturn]>,
    tag: &str,
) -> String {
    let number = |index: usize| if by_uid { view.items[index].uid } else { index as i64 + 1 };
    let numbers: Vec<i64> = found.iter().map(|index| number(*index)).collect();
    let highest = |of: &[usize]| {
        let modseq = of.iter().map(|index| wire_modseq(view.items[*index].modseq)).max();
        modseq.filter(|_| with_modseq)
    };
    let Some(returns) = returns else {
        let all: String = numbers.iter().map(|n| format!(" {n}")).collect();
        let modseq = highest(found).map_or_else(String::new, |modseq| format!(" (MODSEQ {modseq})"));
        return format!("* SEARCH{all}{modseq}\r\n");
    };
    let mut line = format!("* ESEARCH (TAG \"{tag}\"){}", if by_uid { " UID" } else { "" });
    let mut add = |name: &str, value: String| line.push_str(&format!(" {name} {value}"));
    for wanted in [SearchReturn::Min, SearchReturn::Max, SearchReturn::All, SearchReturn::Count] {
        if !returns.contains(&wanted) {
            continue;
        }
        match (wanted, numbers.first(), numbers.last()) {
            (SearchReturn::Count, _, _) => add("COUNT", numbers.len().to_string()),
            (SearchReturn::Min, Some(min), _) => add("MIN", min.to_string()),
            (SearchReturn::Max, _, Some(max)) => add("MAX", max.to_string()),
            (SearchReturn::All, Some(_), _) => add("ALL", number_set(numbers.iter().copied())),
            (SearchReturn::Min | SearchReturn::Max | SearchReturn::All, _, _) => {}
        }
    }
    // RFC 7162 3.1.10: of all that were found where all are told, else of those that are.
    let ends = [(SearchReturn::Min, found.first()), (SearchReturn::Max, found.last())];
    let ends: Vec<usize> =
        ends.iter().filter(|(wanted, _)| returns.contains(wanted)).filter_map(|(_, index)| index.copied()).collect();
    let tells_all = returns.contains(&SearchReturn::All) || returns.contains(&SearchReturn::Count);
    if let Some(modseq) = highest(if tells_all { found } else { &ends }) {
        add("MODSEQ", modseq.to_string());
    }
    line.push_str("\r\n");
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        use SearchReturn::{All, Count, Max, Min};
        let view = View::of_uids(&[4, 5, 6, 10], |uid| uid * 10);
        let check =
            |found: &[usize], with_modseq: bool, by_uid: bool, returns: Option<&[SearchReturn]>, expect: &str| {
                let line = answer(&view, found, with_modseq, by_uid, returns, "a");
                assert_eq!(line, format!("* {expect}\r\n"));
            };
        check(&[1, 2, 3], false, false, None, "SEARCH 2 3 4");
        check(&[], true, false, None, "SEARCH");
        check(&[0, 2], true, true, None, "SEARCH 4 6 (MODSEQ 61)");
        let every: &[SearchReturn] = &[Count, All, Max, Min];
        check(&[0, 1, 3], false, true, Some(every), "ESEARCH (TAG \"a\") UID MIN 4 MAX 10 ALL 4:5,10 COUNT 3");
        check(&[], true, false, Some(every), "ESEARCH (TAG \"a\") COUNT 0");
        check(&[0, 1, 3], true, false, Some(&[Min]), "ESEARCH (TAG \"a\") MIN 1 MODSEQ 41");
        check(&[0, 1, 3], true, false, Some(&[Min, Count]), "ESEARCH (TAG \"a\") MIN 1 COUNT 3 MODSEQ 101");
    }

    #[test]
    fn text_is_searched_decoded() {
        let raw = b"Subject: =?utf-8?q?B=C3=BCcher?=\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\
            Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\nR3LDvMOfZQ==\r\n--b\r\n\
            Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\ndeep\r\n--b--\r\n";
        let text = text_of(&Bytes::from_static(raw));
        assert!(text.header.contains("b\u{fc}cher"), "{}", text.header);
        for word in ["gr\u{fc}\u{df}e", "inner", "deep"] {
            assert!(text.body.contains(word), "{word} in {}", text.body);
        }
    }
}
