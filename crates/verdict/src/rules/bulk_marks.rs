//! Marks of bulk mail: the message went to many people.
//!
//! Gives the bulk level (0 not bulk, 1-3 few complaints to be expected, 4-7 mixed, 8-9 many): one point of weight is one level.
//! Bulk mail that follows the rules (authenticated, an identified list, unsubscribe by one click, RFC 8058) starts low;
//! each omission raises it. What level is too much is the policy's threshold.

use super::{Finding, Look, Rule};
use model::{AuthResult, VerdictClass};

/// See the module.
pub const RULE: Rule = Rule {
    id: "bulk_marks",
    version: 1,
    weight: 1.0,
    class: VerdictClass::Bulk,
    about: "Marks of bulk mail; gives the bulk level.",
    check,
};

/// Pictures from outside that a newsletter hardly needs.
const REMOTE_IMAGES_MANY: u32 = 20;

fn check(look: &Look<'_>) -> Vec<Finding> {
    let (facts, bulk) = (look.facts, &look.facts.bulk);
    let marks = [
        (bulk.list_unsubscribe, "List-Unsubscribe"),
        (!bulk.list_id.is_empty(), "List-Id"),
        (bulk.precedence_bulk, "Precedence"),
        (bulk.feedback_id, "Feedback-ID"),
    ];
    let seen: Vec<&str> = marks.iter().filter(|(is_there, _)| *is_there).map(|&(_, name)| name).collect();
    if seen.is_empty() {
        return Vec::new();
    }
    let authenticated = facts.auth.dmarc == AuthResult::Pass;
    let failed = matches!(facts.auth.dmarc, AuthResult::Fail | AuthResult::PermError);
    let omissions = [
        (!bulk.list_unsubscribe, 3, "no way to unsubscribe"),
        (bulk.list_unsubscribe && !bulk.one_click, 1, "no one-click unsubscribe"),
        (!authenticated && !failed, 1, "not authenticated"),
        (failed, 3, "authentication failed"),
        (facts.sender_known == Some(false), 1, "never written here before"),
        (facts.remote_image_count > REMOTE_IMAGES_MANY, 1, "many remote pictures"),
    ];
    let wrong: Vec<&str> = omissions.iter().filter(|(is_so, ..)| *is_so).map(|&(.., words)| words).collect();
    let level: u8 = 1 + omissions.iter().filter(|(is_so, ..)| *is_so).map(|&(_, points, _)| points).sum::<u8>();
    let mut sentence = format!("bulk mail by its header ({})", seen.join(", "));
    if !wrong.is_empty() {
        sentence.push_str(&format!(": {}", wrong.join(", ")));
    }
    vec![Finding::new(VerdictClass::Bulk, sentence, seen.join(", ")).share(f32::from(level.min(9)))]
}

#[cfg(test)]
#[test]
fn cases() {
    crate::cases::check(
        &RULE,
        r"
        # A newsletter by the rules.
        bulk: list_unsubscribe one_click list_id
        dmarc: pass reject
        expect: bulk 1 bulk mail by its header (List-Unsubscribe, List-Id)

        # An unknown sender that gives no way out.
        bulk: precedence
        known: no
        expect: bulk 6 bulk mail by its header (Precedence): no way to unsubscribe, not authenticated, never written here before

        # An automatic answer is not bulk.
        bulk: auto_submitted
        expect: none
        ",
    );
}
