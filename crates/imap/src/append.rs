//! APPEND (RFC 3501 6.3.11, 4315 3): what an owner puts in.

use bytes::Bytes;
use imap_codec::imap_types::flag::Flag;
use imap_codec::imap_types::mailbox::Mailbox;
use mailbox::{Flags, OwnHeader, OwnMail};
use message::structure::{AddressItem, addresses, decoded_field, field_value};
use model::Timestamp;

use crate::session::{Answer, Broken, Session};

impl Session {
    pub(crate) async fn append(
        &mut self,
        mailbox: &Mailbox<'_>,
        flags: &[Flag<'_>],
        at: Option<Timestamp>,
        message: Option<Bytes>,
    ) -> Result<Answer, Broken> {
        let Some(raw) = message else { return Ok(Answer::bad("the message is missing")) };
        let folder = match self.folder(mailbox, "TRYCREATE").await? {
            Ok(folder) => folder,
            Err(answer) => return Ok(answer),
        };
        if raw.is_empty() {
            return Ok(Answer::no("an empty message is not kept"));
        }
        let mail = OwnMail {
            mailbox_id: self.mailbox_id()?,
            folder_id: folder.id,
            header: own_header(&raw),
            raw,
            flags: flags_of(flags),
            internal_at: at.unwrap_or_else(|| self.mailbox().store().now()),
        };
        match self.mailbox().append(mail).await {
            Ok(Some((validity, uid))) => Ok(Answer::ok(&format!("[APPENDUID {validity} {uid}] APPEND completed"))),
            Ok(None) => Ok(Answer::ok("APPEND completed")),
            Err(error) => Answer::of_mailbox(error),
        }
    }
}

/// What lists show of a message, from its bytes.
pub(crate) fn own_header(raw: &Bytes) -> OwnHeader {
    let end = message::structure::header_end(raw, true).unwrap_or(raw.len());
    let header = &raw[..end];
    let text = |name: &str| field_value(header, name).map(|v| decoded_field(&v)).unwrap_or_default();
    let from = field_value(header, "From").map(|v| addresses(&v)).unwrap_or_default();
    let mut own = OwnHeader { message_id: text("Message-ID"), subject: text("Subject"), ..OwnHeader::default() };
    for item in from {
        if let AddressItem::Mailbox { name, local, domain, .. } = item {
            let address = [local, domain.map_or(Vec::new(), |d| [b"@".to_vec(), d].concat())].concat();
            own.from_address = String::from_utf8_lossy(&address).to_lowercase();
            own.from_name = name.map(|n| decoded_field(&n)).unwrap_or_default();
            break;
        }
    }
    own
}

/// Flags of a command.
pub(crate) fn flags_of(flags: &[Flag<'_>]) -> Flags {
    let mut all = Flags::default();
    for flag in flags {
        match flag {
            Flag::Answered => all.answered = true,
            Flag::Deleted => all.deleted = true,
            Flag::Draft => all.draft = true,
            Flag::Flagged => all.flagged = true,
            Flag::Seen => all.seen = true,
            // The same in any case of letters (RFC 3501 2.3.2).
            Flag::Keyword(word) if all.keywords.iter().any(|known| known.eq_ignore_ascii_case(word.as_ref())) => {}
            Flag::Keyword(word) => {
                all.keywords.insert(word.as_ref().to_owned());
            }
            // \Recent and what nobody knows cannot be set.
            Flag::Extension(_) => {}
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_show_what_the_header_says() {
        let raw = Bytes::from_static(
            b"From: =?utf-8?q?Ad=C3=A4?= <Ada@X.example>, b@y\r\nSubject: Draft\r\nMessage-ID: <1@x>\r\n\r\nbody",
        );
        let own = own_header(&raw);
        assert_eq!((own.from_name.as_str(), own.from_address.as_str()), ("Ad\u{e4}", "ada@x.example"));
        assert_eq!((own.subject.as_str(), own.message_id.as_str()), ("Draft", "<1@x>"));
        assert_eq!(own_header(&Bytes::new()).subject, "");
    }
}
