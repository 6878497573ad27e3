//! Answers about other people's copies, with the tracking tokens taken out of every text.
//!
//! A tracked link stands in what was judged: in facts, evidence, sentences, previews. Whoever can fetch the link of a named
//! person's copy and look at the counts before and after knows whether that person had followed it already. So only
//! the owner of a mailbox is shown the tokens in it.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use campaign::Tokens;
use serde::Serialize;

use crate::problem::Problem;

const MARKS: [&str; 2] = ["/t/", "/o/"];
const HIDDEN: &str = "\u{2026}";

/// A JSON document without tracking tokens.
#[derive(Debug)]
pub struct Masked(String);

/// What a handler gives that answers so.
pub type MaskedAnswer = Result<Masked, Problem>;

impl Masked {
    /// Writes `answer` as JSON and hides the tokens that are ours. (JSON writes a token and what stands around it as it is.)
    pub fn new(tokens: &Tokens, answer: &impl Serialize) -> MaskedAnswer {
        let json = serde_json::to_string(answer).map_err(|error| Problem::from_severity(false, error))?;
        Ok(Masked(hide(tokens, &json).unwrap_or(json)))
    }
}

impl IntoResponse for Masked {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "application/json")], self.0).into_response()
    }
}

/// The text without tokens of ours; `None` when it holds none.
fn hide(tokens: &Tokens, text: &str) -> Option<String> {
    let mut hidden = String::new();
    let mut rest = text;
    while let Some(at) = MARKS.iter().filter_map(|mark| rest.find(mark)).min() {
        let (before, after) = rest.split_at(at + MARKS[0].len());
        let end = after.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_')).unwrap_or(after.len());
        hidden.push_str(before);
        hidden.push_str(if tokens.tracked(&after[..end]).is_ok() { HIDDEN } else { &after[..end] });
        rest = &after[end..];
    }
    hidden.push_str(rest);
    (hidden != text).then_some(hidden)
}

#[cfg(test)]
mod tests {
    use campaign::Subject;
    use directory::Mac;
    use model::CampaignId;
    use serde_json::json;

    use super::*;

    #[test]
    fn our_tokens_are_hidden_wherever_they_stand() {
        let tokens = Tokens::new(Mac::from_key('1', vec![7; 32]));
        let click = tokens.click(CampaignId(5), 2, Subject::Nonce(77));
        let open = tokens.open(CampaignId(5), Subject::Nonce(77));
        let answer = json!({
            "detail": [{ "evidence": format!("the link https://t.x/t/{click} is listed") }],
            "text": format!("A \"https://t.x/t/{click}\" \u{fc} <https://t.x/o/{open}.gif>/t/"),
            "foreign": "https://evil.example/t/AAAABBBBCCCCDDDDEEEEFFFFGGGGHHHH?x=/o/", "count": 3,
        });
        let Masked(masked) = Masked::new(&tokens, &answer).expect("it is JSON");
        let expect = json!({
            "detail": [{ "evidence": "the link https://t.x/t/\u{2026} is listed" }],
            "text": "A \"https://t.x/t/\u{2026}\" \u{fc} <https://t.x/o/\u{2026}.gif>/t/",
            "foreign": "https://evil.example/t/AAAABBBBCCCCDDDDEEEEFFFFGGGGHHHH?x=/o/", "count": 3,
        });
        assert_eq!(serde_json::from_str::<serde_json::Value>(&masked).expect("still JSON"), expect);
    }
}
