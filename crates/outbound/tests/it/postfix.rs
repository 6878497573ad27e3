//! The agent against a real Postfix: what it says of each recipient is what Postfix has, and what we asked it to tell it tells.

use std::collections::BTreeMap;

use dns::Resolver;
use outbound::{NewDelivery, Routes, TlsConfig, TlsLevel};
use store::{Topic, values};
use testkit::postfix::{DOMAIN, Postfix};
use testkit::sink::Sink;
use testkit::{on_both, until};

use crate::common::{HELLO, ORGANISATION, Running, WAIT, delivery, enqueue, until_tried};

const GREY: (&str, &str) = ("grey", "450 4.2.0 greylisted, come again");
const GONE: (&str, &str) = ("gone", "550 5.7.1 not with us any more");
const PEOPLE: usize = 30;

fn at_postfix(name: &str) -> String {
    format!("{name}@{DOMAIN}")
}

/// In clear and under STARTTLS: good, greylisted and refused recipients of one mail, each with an answer of its own, on one
/// connection and by pipelining; the counts are Postfix's.
#[tokio::test]
async fn postfix_has_what_it_is_said_to_have() {
    on_both(|t| async move {
        let store = &t.store;
        let home = Sink::start().await;
        for level in [TlsLevel::Off, TlsLevel::Required] {
            let names: Vec<String> = (0..PEOPLE).map(|n| format!("p{n}")).collect();
            let mut mailboxes: Vec<&str> = names.iter().map(String::as_str).collect();
            mailboxes.extend(["grey", "gone", "dot"]);
            let postfix = Postfix::start(&mailboxes, &[GREY, GONE], home.addr().port()).await;
            let routes = Routes::new(Resolver::none()).with_static(DOMAIN, ([127, 0, 0, 1], postfix.port).into());
            let running = Running::start(store, routes, |c| {
                c.tls = TlsConfig { level, ..TlsConfig::off() };
                c.route_connections_max = 1;
            })
            .await;
            let mut to: Vec<String> = names.iter().map(|name| at_postfix(name)).collect();
            to.extend(["grey", "gone", "nobody"].map(at_postfix));
            let to: Vec<&str> = to.iter().map(String::as_str).collect();
            let made = enqueue(store, &to, HELLO, |_| {}).await;
            let dots = b"Subject: dots\r\n\r\n.\r\n..two\r\nbare\nline\r\n.\n\r\nend\r\n";
            let dotted = enqueue(store, &[&at_postfix("dot")], dots, |_| {}).await[0].0;
            for (to, (id, _)) in to.iter().zip(&made) {
                let (state, count, reply) = until_tried(store, *id).await;
                let (want, begin) = match to.split('@').next().unwrap() {
                    "grey" => ("due", "450 4.2.0"),
                    "gone" => ("failed", "550 5.7.1"),
                    "nobody" => ("failed", "550 5.1.1"),
                    _ => ("done", "250 2.0.0"),
                };
                assert_eq!((state.as_str(), count, reply.starts_with(begin)), (want, 1, true), "{to}: {reply}");
            }
            assert_eq!(until_tried(store, dotted).await.0, "done");
            let wanted: BTreeMap<String, usize> =
                names.iter().map(String::as_str).chain(["dot"]).map(|name| (at_postfix(name), 1)).collect();
            until("Postfix delivers", WAIT, async || postfix.delivered().len() >= wanted.len()).await;
            assert_eq!(postfix.delivered(), wanted, "each once, and nobody else");
            let dotted = postfix.mails("dot");
            assert!(dotted[0].ends_with("\n.\n..two\nbare\nline\n.\n\nend\n"), "{dotted:?}");
            let log = postfix.log();
            let is_encrypted = log.contains("TLS connection established");
            assert_eq!(is_encrypted, level == TlsLevel::Required, "{log}");
            assert_eq!(log.matches(": connect from ").count(), 2, "the test's own, and one for all mail: {log}");
            running.stop().await;
            drop(postfix);
            // Nothing is left for the next round.
            let left =
                outbound::queue_entries(store, ORGANISATION, &outbound::Selection::default(), None, 10).await.unwrap();
            for entry in left {
                outbound::delete(store, ORGANISATION, entry.item.id, "test", "over").await.unwrap();
            }
        }
    })
    .await;
}

/// What a sender asked for goes along to a host that speaks DSN, and the host keeps to it.
#[tokio::test]
async fn postfix_tells_what_it_was_asked_to_tell() {
    on_both(|t| async move {
        let store = &t.store;
        let home = Sink::start().await;
        let postfix = Postfix::start(&["ada", "bob"], &[], home.addr().port()).await;
        let routes = Routes::new(Resolver::none()).with_static(DOMAIN, ([127, 0, 0, 1], postfix.port).into());
        let running = Running::start(store, routes, |_| {}).await;
        let asks = |notify: &'static str| {
            move |new: &mut NewDelivery| {
                new.may_tell = true;
                new.options.envid = "QQ314159".into();
                new.options.ret = "HDRS".into();
                new.rcpt_options.notify = notify.into();
                new.rcpt_options.orcpt = "rfc822;first@elsewhere.example".into();
            }
        };
        let ada = enqueue(store, &[&at_postfix("ada")], HELLO, asks("SUCCESS")).await[0].0;
        let bob = enqueue(store, &[&at_postfix("bob")], HELLO, asks("NEVER")).await[0].0;
        for id in [ada, bob] {
            assert_eq!(until_tried(store, id).await.0, "done");
        }
        let told = home.wait_for(1).await;
        let text = String::from_utf8_lossy(&told[0].body).into_owned();
        assert_eq!(told[0].envelope.forward_paths[0].to_string(), "news@us.example");
        for part in ["Action: delivered", "Original-Envelope-Id: QQ314159", "rfc822;first@elsewhere.example"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("\r\nhi\r\n"), "RET=HDRS: {text}");
        until("both are delivered", WAIT, async || postfix.delivered().len() == 2).await;
        assert_eq!(home.mails().len(), 1, "NEVER is never, and we say nothing beside a host that speaks for itself");
        running.stop().await;
    })
    .await;
}

/// A grey list that lets the second try pass: one mail, one copy, two tries.
#[tokio::test]
async fn a_grey_list_is_passed_with_the_second_try() {
    on_both(|t| async move {
        let store = &t.store;
        let home = Sink::start().await;
        let first = Postfix::start(&["grey", "ada"], &[GREY], home.addr().port()).await;
        let to = [at_postfix("grey"), at_postfix("ada")];
        let routes = |port: u16| Routes::new(Resolver::none()).with_static(DOMAIN, ([127, 0, 0, 1], port).into());
        let running = Running::start(store, routes(first.port), |_| {}).await;
        let made = enqueue(store, &[&to[0], &to[1]], HELLO, |_| {}).await;
        assert_eq!(until_tried(store, made[0].0).await.0, "due");
        assert_eq!(until_tried(store, made[1].0).await.0, "done");
        running.stop().await;
        until("one is delivered", WAIT, async || first.delivered().len() == 1).await;
        drop(first);

        let second = Postfix::start(&["grey", "ada"], &[], home.addr().port()).await;
        let row = store.query_one("delivery.by_id", &values![ORGANISATION, made[0].0]).await.unwrap().unwrap();
        t.clock.set(row.at("next_try_at").unwrap().plus_ms(1));
        let running = Running::start(store, routes(second.port), |_| {}).await;
        store.bus().announce(Topic::Delivery, 0_i64);
        until("it is done", WAIT, async || delivery(store, made[0].0).await.0 == "done").await;
        assert_eq!(delivery(store, made[0].0).await.1, 2);
        until("the other is delivered", WAIT, async || !second.delivered().is_empty()).await;
        assert_eq!(second.delivered(), BTreeMap::from([(to[0].clone(), 1)]));
        running.stop().await;
    })
    .await;
}
