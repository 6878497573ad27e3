//! A whole SMTP dialogue from the peer's side: never a panic, bounded answers, and how the bytes are cut into reads
//! changes nothing. As another host, as a mail program that logs in, and as a host that speaks LMTP.
//!
//! Input: a byte of settings, a byte for the cut, then what the peer sends.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use model::{AccountId, PersonId, Reply, SubmissionLogin, TlsInfo};
use smtp::reply::ReplyParser;
use smtp::server::{EarlyTalker, LoginInput, LoginStep, Output, ServerConfig, Service, Session};

const SIZE_BYTES_MAX: usize = 2_000;
const RECIPIENTS_MAX: usize = 5;
const MECHANISMS: &[&str] = &["PLAIN", "LOGIN", "SCRAM-SHA-256"];

fn config(settings: u8) -> Arc<ServerConfig> {
    let mut config = match settings >> 1 & 3 {
        0 | 1 => ServerConfig::new("mx.example"),
        2 => ServerConfig::submission("mx.example", MECHANISMS),
        _ => ServerConfig::lmtp("mx.example"),
    };
    config.size_bytes_max = SIZE_BYTES_MAX;
    config.recipients_max = RECIPIENTS_MAX;
    config.messages_max = 8;
    config.early_talker = if settings & 1 == 0 { EarlyTalker::Tolerate } else { EarlyTalker::Refuse };
    config.tls_implicit = config.service == Service::Submission;
    Arc::new(config)
}

/// Runs a dialogue to its end and gives what the server did.
fn run<'a>(config: &Arc<ServerConfig>, pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Output> {
    let mut session = Session::new(config.clone(), [192, 0, 2, 1].into());
    if config.tls_implicit {
        session.tls_from_the_start(TlsInfo { version: "TLSv1.3".into(), cipher: "x".into() });
    }
    session.greet(None);
    let mut seen = Vec::new();
    drive(&mut session, &mut seen);
    for piece in pieces {
        session.feed(piece);
        drive(&mut session, &mut seen);
    }
    seen
}

fn drive(session: &mut Session, seen: &mut Vec<Output>) {
    while let Some(output) = session.next_output() {
        match &output {
            Output::Reply(reply) => check_reply(reply),
            Output::CheckSender => session.decide(Ok(())),
            Output::VerifyRecipient(recipient) => {
                let refused = recipient.local().starts_with('x');
                session.decide(if refused { Err(Reply::permanent(550, (1, 1), "unknown")) } else { Ok(()) });
            }
            Output::Login(input) => session.login_step(log_in(input)),
            Output::Delay { .. } | Output::Close => {}
            Output::Message { envelope, body } => {
                assert!((1..=RECIPIENTS_MAX).contains(&envelope.forward_paths.len()));
                assert!(body.len() <= SIZE_BYTES_MAX);
                // RFC 3030 2: what comes in chunks may end without a line's end.
                let canonical = smtp::data::canonical_newlines(body);
                let line_end = canonical.strip_prefix(&body[..]);
                let is_clean = line_end.is_some_and(|end| end.is_empty() || end == b"\r\n");
                assert!(is_clean, "only CRLF ends a line");
                let done = Reply::ok(250, (0, 0), "taken");
                match session.config().service {
                    Service::Lmtp => session.finish_each(&vec![done; envelope.forward_paths.len()]),
                    Service::Submission => {
                        assert!(envelope.client.login.is_some(), "nothing is submitted before a login");
                        session.finish(done);
                    }
                    Service::Relay => session.finish(done),
                }
            }
            Output::StartTls => unreachable!("TLS is not offered"),
        }
        seen.push(output);
    }
}

/// One challenge, then by the length of what was said.
fn log_in(input: &LoginInput) -> LoginStep {
    match input {
        LoginInput::Begin { initial: None, .. } => LoginStep::Challenge(b"more\0?".to_vec()),
        LoginInput::Begin { initial: Some(said), .. } | LoginInput::Response(said) if said.len() % 3 == 0 => {
            LoginStep::Done(SubmissionLogin {
                account_id: AccountId(1),
                person_id: PersonId(1),
                address: "ada@example.org".into(),
                may_send_as_others: false,
            })
        }
        LoginInput::Begin { .. } | LoginInput::Response(_) => {
            LoginStep::Refused(Reply::permanent(535, (7, 8), "the login is not right"))
        }
    }
}

/// What we say is one reply, whatever the peer put into it.
fn check_reply(reply: &Reply) {
    let mut parser = ReplyParser::default();
    parser.feed(&reply.to_wire());
    let back = parser.next_reply().expect("our replies are well formed").expect("they are whole");
    assert_eq!(back.code(), reply.code());
    assert!(parser.is_empty(), "one reply is one");
}

fuzz_target!(|input: &[u8]| {
    let [settings, cut, wire @ ..] = input else { return };
    let config = config(*settings);
    let whole = run(&config, std::iter::once(wire));
    assert!(whole.len() <= wire.len() * (1 + RECIPIENTS_MAX) + 8, "an answer needs a question");
    if config.early_talker == EarlyTalker::Refuse {
        return; // who talks early depends on the cut
    }
    let (head, tail) = wire.split_at(usize::from(*cut).min(wire.len()));
    assert_eq!(run(&config, [head, tail].into_iter()), whole, "in two pieces");
    assert_eq!(run(&config, wire.chunks(1 + usize::from(*cut % 8))), whole, "in pieces");
});
