//! Tokens in public links and return paths: none is read that the organisation's key did not make, and one that was
//! made is read in one spelling only.
//!
//! Input: a byte that chooses and 18 bytes of ids, then a token of a stranger, or changes to one of ours.

#![no_main]

use campaign::{Subject, Tokens, Tracked};
use directory::{Mac, ReturnTokens};
use libfuzzer_sys::fuzz_target;
use model::{CampaignId, CopyId, Timestamp};

const OURS: u8 = b'0';

fuzz_target!(|input: &[u8]| {
    let Some((head, rest)) = input.split_at_checked(19) else { return };
    let number = |at: usize| i64::from_be_bytes(head[at..at + 8].try_into().expect("eight bytes"));
    let mac = Mac::from_key(char::from(OURS), vec![7; 32]);
    let (tokens, returns) = (Tokens::new(mac.clone()), ReturnTokens::new(mac));
    let (campaign_id, copy_id) = (CampaignId(number(1)), CopyId(number(9)));
    let position = u16::from_be_bytes([head[17], head[18]]);
    let subject = if head[0] & 1 == 0 { Subject::Nonce(copy_id.0 as u64) } else { Subject::Copy(copy_id) };

    let click = tokens.click(campaign_id, position, subject);
    let open = tokens.open(campaign_id, subject);
    let out = tokens.unsubscribe(copy_id);
    let tracked = |link_position| Tracked { campaign_id, link_position, subject };
    assert_eq!(tokens.tracked(&click).ok(), Some(tracked(Some(position))));
    assert_eq!(tokens.tracked(&open).ok(), Some(tracked(None)));
    assert_eq!(tokens.unsubscribed(&out).ok(), Some(copy_id));
    assert!(tokens.tracked(&out).is_err() && tokens.unsubscribed(&click).is_err(), "each has its purpose");

    let text = String::from_utf8_lossy(rest);
    for (ours, read) in [(&click, true), (&open, true), (&out, false)] {
        // What the input says of the token, or what it makes of ours.
        for said in [text.to_string(), changed(ours, rest)] {
            let taken = if read { tokens.tracked(&said).is_ok() } else { tokens.unsubscribed(&said).is_ok() };
            assert!(!taken || [&click, &open, &out].contains(&&said), "{said:?} was not made by us");
        }
    }
    let local = returns.local(copy_id);
    let said = changed(&local, rest);
    let taken = returns.copy_id(&said, Timestamp::default()).is_some();
    assert!(!taken || said.eq_ignore_ascii_case(&local), "{said:?} was not made by us");
    assert!(returns.copy_id(&text, Timestamp::default()).is_none() || text.eq_ignore_ascii_case(&local));
});

/// The token with some places written over, cut or continued.
fn changed(token: &str, by: &[u8]) -> String {
    let mut bytes = token.as_bytes().to_vec();
    for change in by.chunks_exact(2).take(4) {
        let at = usize::from(change[0]);
        if at < bytes.len() {
            bytes[at] = change[1] & 0x7F;
        } else if at > 200 {
            bytes.truncate(usize::from(change[1]));
        } else {
            bytes.push(change[1] & 0x7F);
        }
    }
    String::from_utf8(bytes).expect("ASCII")
}
