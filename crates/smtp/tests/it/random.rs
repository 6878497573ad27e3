//! What no example thinks of: random dialogues, random cuts, random bodies.

use std::net::Ipv4Addr;
use std::sync::Arc;

use model::Reply;
use proptest::prelude::*;
use smtp::data::{DataReceiver, END_OF_DATA, Received, add_dots, canonical_newlines};
use smtp::reply::ReplyParser;
use smtp::server::{EarlyTalker, Output, ServerConfig, Session};

/// Pieces that dialogues and bodies are made of; the interesting ones are those that end something, or nearly.
const PIECES: [&[u8]; 34] = [
    b"EHLO client.example\r\n",
    b"HELO client.example\r\n",
    b"MAIL FROM:<a@client.example>\r\n",
    b"MAIL FROM:<> SIZE=70\r\n",
    b"RCPT TO:<ada@example.org>\r\n",
    b"RCPT TO:<nobody@example.org>\r\n",
    b"DATA\r\n",
    b"RSET\r\n",
    b"QUIT\r\n",
    b"NOOP\r\n",
    b"text",
    b"\r\n.\r\n",
    b"\r\n",
    b".\r\n",
    b".",
    b"\r",
    b"\n",
    b"\0",
    b"\xFF",
    b"\n.\n",
    b"\r.\r",
    b"\r\n.\n",
    b"\n.\r\n",
    b"\r\n.\r\r\n",
    b"MAIL FROM:<b@client.example>\r\nRCPT TO:<ada@example.org>\r\nDATA\r\n",
    b"EHLO c\r\nMAIL FROM:<c@client.example>\r\nRCPT TO:<grace@example.org>\r\nDATA\r\n",
    b"0123456789012345678901234567890123456789012345678901234567890123456789",
    b"BDAT 5\r\n",
    b"BDAT 7 LAST\r\n",
    b"BDAT 0 LAST\r\n",
    b"BDAT 70\r\n",
    b"BDAT 5\n",
    b"MAIL FROM:<d@client.example> BODY=8BITMIME\r\nRCPT TO:<ada@example.org>\r\nBDAT 6\r\nBDAT 2\r\n",
    b"AUTH PLAIN AGEAYg==\r\n",
];

fn pieces(count_max: usize) -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(&PIECES[..]).prop_map(<[u8]>::to_vec);
    let piece = prop_oneof![9 => known, 1 => prop::collection::vec(any::<u8>(), 0..20)];
    prop::collection::vec(piece, 0..count_max).prop_map(|pieces| pieces.concat())
}

/// What replies are made of, and what they are not.
const REPLY_PIECES: [&[u8]; 10] = [b"250", b"-", b" ", b"2.0.0 ", b"text", b"\r\n", b"\n", b"421 ", b"\xFF", b"\0"];

fn reply_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(&REPLY_PIECES[..]), 0..30).prop_map(|pieces| pieces.concat())
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1usize..30, 1..20)
}

/// What a session says to these bytes when they come in chunks of these sizes.
fn run(bytes: &[u8], chunks: &[usize]) -> Vec<Output> {
    let mut config = ServerConfig::new("mx.example");
    config.early_talker = EarlyTalker::Tolerate;
    config.line_bytes_max = 60;
    config.size_bytes_max = 64;
    config.recipients_max = 3;
    let mut session = Session::new(Arc::new(config), Ipv4Addr::LOCALHOST.into());
    session.greet(None);
    let mut outputs = Vec::new();
    let mut rest = bytes;
    for chunk_bytes in chunks.iter().cycle() {
        let (chunk, after) = rest.split_at((*chunk_bytes).min(rest.len()));
        session.feed(chunk);
        while let Some(output) = session.next_output() {
            match &output {
                Output::CheckSender => session.decide(Ok(())),
                Output::VerifyRecipient(to) if to.local() == "nobody" => {
                    session.decide(Err(Reply::permanent(550, (1, 1), "unknown")));
                }
                Output::VerifyRecipient(_) => session.decide(Ok(())),
                Output::Message { envelope, .. } => {
                    assert!(!envelope.forward_paths.is_empty(), "a message has recipients");
                    session.finish(Reply::ok(250, (0, 0), "accepted"));
                }
                Output::Login(_) => unreachable!("nobody logs in at a relay"),
                Output::Reply(_) | Output::Delay { .. } | Output::StartTls | Output::Close => {}
            }
            outputs.push(output);
        }
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    outputs
}

/// Bodies the slow and plain way: what stands between each 354 and the first CRLF.CRLF after it.
fn true_end(body: &[u8]) -> Option<usize> {
    if body.starts_with(b".\r\n") {
        return Some(3);
    }
    body.windows(5).position(|window| window == b"\r\n.\r\n").map(|at| at + 5)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn a_dialogue_is_the_same_however_it_is_cut(bytes in pieces(25), chunks in cuts()) {
        // Half of the dialogues begin in a body, where most of the traps are.
        let started = [PIECES[25], &bytes].concat();
        for bytes in [&bytes, &started] {
            let whole = run(bytes, &[usize::MAX]);
            prop_assert_eq!(&run(bytes, &chunks), &whole);
            prop_assert_eq!(&run(bytes, &[1]), &whole);
            let close = whole.iter().position(|output| *output == Output::Close);
            prop_assert!(close.is_none_or(|at| at + 1 == whole.len()), "nothing follows Close");
        }
    }

    #[test]
    fn only_the_true_end_ends(bytes in pieces(12), chunks in cuts()) {
        let mut receiver = DataReceiver::new(1 << 20);
        let (mut used_bytes, mut at) = (0, 0);
        while used_bytes < bytes.len() && !receiver.is_ended() {
            let end = bytes.len().min(used_bytes + chunks[at % chunks.len()]);
            used_bytes += receiver.push(&bytes[used_bytes..end]);
            at += 1;
        }
        prop_assert_eq!(receiver.is_ended().then_some(used_bytes), true_end(&bytes));
    }

    #[test]
    fn what_is_sent_is_what_arrives(body in pieces(12)) {
        let canonical = canonical_newlines(&body);
        let wire = add_dots(&canonical);
        let whole = [&wire[..], END_OF_DATA, b"QUIT\r\n"].concat();
        let mut receiver = DataReceiver::new(1 << 20);
        prop_assert_eq!(receiver.push(&whole), wire.len() + END_OF_DATA.len());
        prop_assert_eq!(receiver.finish(), Received::Body(canonical.to_vec()));
        // A receiver that drops NULs, or takes any CR or LF for a line end, finds no lone dot either.
        let lines = wire.split(|byte| b"\r\n".contains(byte));
        for line in lines {
            let line: Vec<u8> = line.iter().copied().filter(|&byte| byte != 0).collect();
            prop_assert_ne!(&line[..], b".");
        }
    }

    #[test]
    fn replies_are_the_same_however_they_are_cut(bytes in reply_bytes(), chunks in cuts()) {
        let read = |chunks: &[usize]| {
            let (mut parser, mut replies, mut rest) = (ReplyParser::default(), Vec::new(), &bytes[..]);
            for chunk_bytes in chunks.iter().cycle() {
                let (chunk, after) = rest.split_at((*chunk_bytes).min(rest.len()));
                parser.feed(chunk);
                loop {
                    match parser.next_reply() {
                        Ok(None) => break,
                        Ok(Some(reply)) => replies.push(Ok(reply)),
                        Err(error) => {
                            replies.push(Err(error));
                            return replies;
                        }
                    }
                }
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            replies
        };
        prop_assert_eq!(read(&chunks), read(&[usize::MAX]));
    }
}
