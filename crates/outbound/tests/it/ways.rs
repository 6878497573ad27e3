//! The ways that mail takes: a smarthost with a login, IPv6 and back to IPv4, the next host when one takes nothing, hosts with
//! little room, turns between routes, and what is somebody else's by now.

use dns::Resolver;
use outbound::{AgentConfig, LimitState, NewDelivery, Relay, Routes, TlsConfig};
use smtp::client::Credentials;
use store::{Trouble, values};
use testkit::{TestStore, on_both};

use crate::common::{
    Authority, HELLO, Host, LOGIN, ORGANISATION, Running, Starttls, delivery, enqueue, one, until, until_tried, zone,
};

fn login(password: &str) -> Credentials {
    Credentials { username: LOGIN.0.into(), password: password.into() }
}

/// Everything goes to the smarthost, under TLS with a checked certificate, after a login by the best mechanism it offers.
#[tokio::test]
async fn a_smarthost_gets_everything_after_a_login_under_tls() {
    on_both(|t| async move {
        let store = &t.store;
        let authority = Authority::new();
        for offer in ["AUTH LOGIN PLAIN", "AUTH LOGIN"] {
            let host = Host::start(&[offer, "PIPELINING"], Starttls::Yes(authority.host("smart.example").0)).await;
            let (_zone, resolver) = zone("smart.example A 127.0.0.1").await;
            let relay = Relay::new("smart.example", host.addr.port()).with_credentials(login(LOGIN.1));
            let running =
                Running::start(store, Routes::new(resolver).with_relay(relay), |c| c.tls = authority.tls()).await;
            for to in ["a@one.example", "b@two.example"] {
                let id = one(store, to).await;
                assert_eq!(until_tried(store, id).await.0, "done", "{offer}");
            }
            let lines = host.lines();
            let at = |word: &str| lines.iter().position(|line| line.starts_with(word));
            assert!(at("TLS") < at("AUTH") && at("AUTH") < at("MAIL") && at("TLS").is_some(), "{lines:?}");
            assert_eq!(at("AUTH PLAIN").is_some(), offer.ends_with("PLAIN"), "{lines:?}");
            assert_eq!(host.heard("RCPT"), 2);
            running.stop().await;
        }
        // A certificate for somebody else never sees the password.
        let host = Host::start(&["AUTH PLAIN"], Starttls::Yes(authority.host("else.example").0)).await;
        let (_zone, resolver) = zone("smart.example A 127.0.0.1").await;
        let relay = Relay::new("smart.example", host.addr.port()).with_credentials(login(LOGIN.1));
        let running = Running::start(store, Routes::new(resolver).with_relay(relay), |c| c.tls = authority.tls()).await;
        let id = one(store, "a@one.example").await;
        let (state, _, reply) = until_tried(store, id).await;
        assert_eq!((state.as_str(), host.heard("AUTH"), host.heard("MAIL")), ("due", 0, 0), "{reply}");
        running.stop().await;
    })
    .await;
}

/// A wrong password concerns all mail and none of it: it waits, the smarthost is left alone, and everybody who looks sees why.
#[tokio::test]
async fn a_wrong_password_bounces_nobodys_mail() {
    on_both(|t| async move {
        let store = &t.store;
        let authority = Authority::new();
        let host = Host::start(&["AUTH PLAIN"], Starttls::Yes(authority.host("smart.example").0)).await;
        let (_zone, resolver) = zone("smart.example A 127.0.0.1").await;
        let routes = |password: &str| {
            let relay = Relay::new("smart.example", host.addr.port()).with_credentials(login(password));
            Routes::new(resolver.clone()).with_relay(relay)
        };
        let running = Running::start(store, routes("wrong"), |c| c.tls = authority.tls()).await;
        let tell = |new: &mut NewDelivery| new.may_tell = true;
        let first = enqueue(store, &["a@one.example"], HELLO, tell).await[0].0;
        let (state, _, reply) = until_tried(store, first).await;
        assert_eq!((state.as_str(), reply.contains("AUTH was refused: 535 5.7.8")), ("due", true), "{reply}");
        let second = enqueue(store, &["b@two.example"], HELLO, tell).await[0].0;
        until(store, "the second is put off", || async {
            let row = store.query_one("delivery.by_id", &values![ORGANISATION, second]).await.unwrap().unwrap();
            row.at("next_try_at").unwrap() > store.now()
        })
        .await;
        until(store, "it is shown", || async { !outbound::limits_now(store).await.unwrap().is_empty() }).await;
        let shown = &outbound::limits_now(store).await.unwrap()[0].line;
        assert_eq!((shown.state, shown.reason.as_str()), (LimitState::Paused, "our login is refused"), "{shown:?}");
        assert_eq!((shown.mx_group.as_str(), host.heard("AUTH")), ("relay smart.example", 1), "one try is enough");
        running.stop().await;
        let count = outbound::count(store, ORGANISATION, &outbound::Selection::default()).await.unwrap().count;
        assert_eq!((count, host.heard("MAIL")), (2, 0), "both wait, and nobody is told that they failed");

        t.clock.advance_ms(3_600_000);
        let running = Running::start(store, routes(LOGIN.1), |c| c.tls = authority.tls()).await;
        for id in [first, second] {
            until(store, "it goes", || async { delivery(store, id).await.0 == "done" }).await;
        }
        running.stop().await;
    })
    .await;
}

#[tokio::test]
async fn ipv6_is_a_way_and_ipv4_the_way_back() {
    on_both(|t| async move {
        let store = &t.store;
        let six = Host::start_at("[::1]:0", &[], Starttls::No).await;
        let port = six.addr.port();
        let (_zone, resolver) = zone(
            "six.example MX 5 mx.six.example\nmx.six.example AAAA ::1\nmx.six.example A 127.0.0.1\n\
             four.example MX 5 mx.four.example\nmx.four.example AAAA ::2\nmx.four.example A 127.0.0.1",
        )
        .await;
        let routes = Routes::new(resolver).with_mx_port(port).with_static("fixed.example", six.addr);
        let running = Running::start(store, routes.clone(), |_| {}).await;
        for to in ["a@six.example", "b@fixed.example", "c@[IPv6:::1]"] {
            let id = one(store, to).await;
            assert_eq!(until_tried(store, id).await.0, "done", "{to}");
        }
        assert_eq!(six.heard("RCPT"), 3);
        // Nobody is at ::2: the mail goes by IPv4, with the same try.
        let four = Host::start_at(&format!("127.0.0.1:{port}"), &[], Starttls::No).await;
        let id = one(store, "d@four.example").await;
        let (state, count, reply) = until_tried(store, id).await;
        assert_eq!((state.as_str(), count, four.heard("RCPT")), ("done", 1, 1), "{reply}");
        running.stop().await;
    })
    .await;
}

/// RFC 5321 5.1: the hosts are tried in their order until one takes it, and not only until one answers the telephone.
#[tokio::test]
async fn the_next_host_is_tried_when_one_takes_nothing() {
    on_both(|t| async move {
        let store = &t.store;
        let first = Host::start(&["PIPELINING"], Starttls::No).await;
        let port = first.addr.port();
        let second = Host::start_at(&format!("127.0.0.2:{port}"), &[], Starttls::No).await;
        let (_zone, resolver) = zone(
            "there.example MX 10 a.there.example\nthere.example MX 20 b.there.example\n\
             a.there.example A 127.0.0.1\nb.there.example A 127.0.0.2",
        )
        .await;
        // No connection idles: each mail begins with the first host.
        let running = Running::start(store, Routes::new(resolver).with_mx_port(port), |c| c.idle_ms = 1).await;
        for answer in ["", "421 4.3.2 not now"] {
            first.script("MAIL", &[answer]);
            let id = one(store, "a@there.example").await;
            let (state, count, reply) = until_tried(store, id).await;
            assert_eq!((state.as_str(), count), ("done", 1), "{answer:?}: {reply}");
            until(store, "the second is left", || async { second.heard("QUIT") == second.heard("EHLO") }).await;
            t.clock.advance_ms(600_000); // 421 is a word to the limits as well: the hosts are left alone for a while
        }
        assert_eq!((first.heard("MAIL"), second.heard("RCPT")), (2, 2));
        // When none takes it, it waits.
        first.script("MAIL", &[""]);
        second.script("MAIL", &["421 4.3.2 not now either"]);
        let id = one(store, "a@there.example").await;
        let (state, count, reply) = until_tried(store, id).await;
        assert_eq!((state.as_str(), count, reply.as_str()), ("due", 1, "421 4.3.2 not now either"));
        running.stop().await;
    })
    .await;
}

/// RFC 5321 4.5.3.1.10: those that a host has no room for in one transaction go at once, in the next.
#[tokio::test]
async fn recipients_too_many_for_one_transaction_go_in_the_next() {
    on_both(|t| async move {
        let store = &t.store;
        for offers in [&["PIPELINING"][..], &[]] {
            let host = Host::start(offers, Starttls::No).await;
            let to = ["a@there.example", "b@there.example", "c@there.example", "d@there.example", "e@there.example"];
            for (who, answers) in [
                (to[1], &["452 4.5.3 too many recipients"][..]),
                (to[2], &["552 Too many recipients received this hour", "452 4.5.3 still too many"]),
                (to[3], &["550 5.1.1 nobody"]),
                (to[4], &["452 4.2.2 mailbox full"]),
            ] {
                host.at_rcpt.lock().unwrap().entry(who.into()).or_default().extend(answers);
            }
            let routes = Routes::new(Resolver::none()).with_static("there.example", host.addr);
            let running = Running::start(store, routes, |_| {}).await;
            let made = enqueue(store, &to, HELLO, |_| {}).await;
            for (at, want) in ["done", "done", "done", "failed", "due"].into_iter().enumerate() {
                let (state, count, reply) = until_tried(store, made[at].0).await;
                assert_eq!((state.as_str(), count), (want, 1), "{}: {reply}", to[at]);
            }
            assert_eq!((host.heard("MAIL"), host.heard("EHLO")), (3, 1), "three transactions on one connection");
            running.stop().await;
            outbound::delete(store, ORGANISATION, made[4].0, "test", "over").await.unwrap();
        }
    })
    .await;
}

/// Who was refused for himself is refused, also when nobody knows what became of the others.
#[tokio::test]
async fn a_refusal_counts_although_the_end_is_unclear() {
    on_both(|t| async move {
        let store = &t.store;
        let host = Host::start(&["PIPELINING"], Starttls::No).await;
        host.at_rcpt.lock().unwrap().entry("b@there.example".into()).or_default().push_back("550 5.1.1 nobody");
        host.script(".", &[""]);
        let routes = Routes::new(Resolver::none()).with_static("there.example", host.addr);
        let running = Running::start(store, routes, |_| {}).await;
        let made = enqueue(store, &["a@there.example", "b@there.example"], HELLO, |_| {}).await;
        let (state, _, reply) = until_tried(store, made[0].0).await;
        assert_eq!((state.as_str(), reply.contains("unclear")), ("due", true), "{reply}");
        assert_eq!(until_tried(store, made[1].0).await, ("failed".into(), 1, "550 5.1.1 nobody".into()));
        let doubted = async |copy| store.query_one("queue.may_be_double", &values![copy]).await.unwrap().is_some();
        assert_eq!((doubted(made[0].1).await, doubted(made[1].1).await), (true, false));
        running.stop().await;
    })
    .await;
}

/// TLS 1.3: a host says that it does not like us when our side of the handshake is done.
#[tokio::test]
async fn a_host_that_drops_tls_after_the_handshake_gets_clear_text() {
    on_both(|t| async move {
        let authority = Authority::new();
        let host = Host::start(&[], Starttls::Yes(authority.wary_host("mx.there.example"))).await;
        let routes = Routes::new(Resolver::none()).with_static("there.example", host.addr);
        let running = Running::start(&t.store, routes, |c| c.tls = TlsConfig { sts: None, ..authority.tls() }).await;
        let id = one(&t.store, "a@there.example").await;
        let (state, count, reply) = until_tried(&t.store, id).await;
        assert_eq!((state.as_str(), count), ("done", 1), "{reply}");
        assert_eq!((host.heard("STARTTLS"), host.heard("TLS")), (1, 0));
        running.stop().await;
    })
    .await;
}

/// Our own gateway is behind no network: REQUIRETLS asks nothing of the way to it.
#[tokio::test]
async fn require_tls_does_not_keep_mail_from_our_own_gateway() {
    on_both(|t| async move {
        let host = Host::start(&[], Starttls::No).await;
        let routes =
            Routes::new(Resolver::none()).with_own("us.example", host.addr).with_static("b.example", host.addr);
        let running = Running::start(&t.store, routes, |_| {}).await;
        let strict = |new: &mut NewDelivery| new.options.require_tls = true;
        let id = enqueue(&t.store, &["a@us.example"], HELLO, strict).await[0].0;
        assert_eq!(until_tried(&t.store, id).await.0, "done");
        assert_eq!(host.heard("MAIL FROM:<news@us.example> REQUIRETLS"), 0);
        running.stop().await;
    })
    .await;
}

/// RFC 5321 5.1: nobody mails to itself. An address that only this machine can mean is refused before anything is tried, and a host
/// that greets us with our own name when it does.
#[tokio::test]
async fn mail_that_would_come_back_is_refused_and_its_sender_told() {
    on_both(|t| async move {
        let store = &t.store;
        let home = Host::start(&[], Starttls::No).await;
        let mirror = Host::start(&[], Starttls::No).await;
        mirror.banners.lock().unwrap().extend(["220 Out.us.example ESMTP"; 2]);
        let (_zone, resolver) = zone(
            "here.example MX 10 mx.here.example\nmx.here.example A 127.0.0.1\n\
             mirror.example MX 10 mx.mirror.example\nmx.mirror.example A 127.0.0.1\n\
             backup.example MX 5 first.example\nbackup.example MX 10 mx.mirror.example\nfirst.example A 127.0.0.3",
        )
        .await;
        let routes = Routes::new(resolver).with_own_name("out.us.example").with_static("us.example", home.addr);
        let tell = |new: &mut NewDelivery| new.may_tell = true;
        // The port of mail hosts is 25 where nothing else is said, and nobody is asked there.
        let running = Running::start(store, routes.clone(), |_| {}).await;
        for (to, host) in [("a@here.example", "mx.here.example [127.0.0.1]"), ("b@[127.0.0.1]", "[127.0.0.1]")] {
            let id = enqueue(store, &[to], HELLO, tell).await[0].0;
            let want = format!("550 5.4.6 the mail would come back to this host: {host} is its mail host");
            assert_eq!(until_tried(store, id).await, ("failed".into(), 1, want));
        }
        until(store, "the sender is told of both", || async { home.heard("Status: 5.4.6") == 2 }).await;
        running.stop().await;

        let running = Running::start(store, routes.with_mx_port(mirror.addr.port()), |_| {}).await;
        let id = enqueue(store, &["c@mirror.example"], HELLO, |_| {}).await[0].0;
        let (state, _, reply) = until_tried(store, id).await;
        assert_eq!((state.as_str(), &reply[..9]), ("failed", "550 5.4.6"), "{reply}");
        // Somebody preferred to us does not answer: it is waited for.
        let id = enqueue(store, &["d@backup.example"], HELLO, |_| {}).await[0].0;
        let (state, _, reply) = until_tried(store, id).await;
        assert_eq!((state.as_str(), reply.contains("first.example")), ("due", true), "{reply}");
        assert_eq!((mirror.heard("MAIL"), mirror.heard("QUIT")), (0, 2));
        running.stop().await;
    })
    .await;
}

/// One connection in all, and a route with much to send: another one has its turn before the first is done.
#[tokio::test]
async fn a_route_with_much_work_gives_way() {
    on_both(|t| async move {
        let store = &t.store;
        let busy = Host::start(&[], Starttls::No).await;
        let other = busy.beside().await;
        let routes = Routes::new(Resolver::none())
            .with_static("busy.example", busy.addr)
            .with_static("other.example", other.addr);
        busy.script("MAIL", &["wait"]);
        let mut ids = Vec::new();
        for n in 0..60 {
            ids.push(one(store, &format!("p{n}@busy.example")).await);
        }
        let running = Running::start(store, routes, |c| c.connections_max = 1).await;
        until(store, "the first is under way", || async { busy.heard("MAIL") == 1 }).await;
        let late = one(store, "late@other.example").await;
        until(store, "the late one waits its turn", || async { delivery(store, late).await.0 == "leased" }).await;
        // The agent looks at what waits with the next end of a mail.
        busy.go.notify_one();
        for id in ids.iter().chain([&late]) {
            until(store, "all are sent", || async { delivery(store, *id).await.0 == "done" }).await;
        }
        let lines = busy.lines();
        let at = lines.iter().filter(|line| line.starts_with("RCPT")).position(|line| line.contains("late@"));
        assert!(at.is_some_and(|at| at < 30), "{at:?} of 61");
        running.stop().await;
    })
    .await;
}

/// A host that says more than it was asked is out of step: the next mail goes over a new connection, with the same try.
#[tokio::test]
async fn a_host_out_of_step_gets_the_next_mail_anew() {
    on_both(|t| async move {
        let host = Host::start(&["PIPELINING"], Starttls::No).await;
        host.script(".", &["250 2.0.0 kept\r\n550 5.1.1 nobody"]);
        let routes = Routes::new(Resolver::none()).with_static("there.example", host.addr);
        let running = Running::start(&t.store, routes, |c| c.connections_max = 1).await;
        for to in ["a@there.example", "b@there.example"] {
            let id = one(&t.store, to).await;
            let (state, count, reply) = until_tried(&t.store, id).await;
            assert_eq!((state.as_str(), count), ("done", 1), "{reply}");
        }
        assert_eq!((host.heard("EHLO"), host.heard("RCPT TO:<b@")), (2, 1));
        running.stop().await;
    })
    .await;
}

/// However many hosts are slow: there is room in memory for the mail to the next one.
#[tokio::test]
async fn slow_hosts_never_fill_the_room() {
    on_both(|t| async move {
        let store = &t.store;
        let good = Host::start(&[], Starttls::No).await;
        let mut routes = Routes::new(Resolver::none()).with_static("good.example", good.addr);
        let mut slow = Vec::new();
        for n in 0..3 {
            let host = Host::start(&[], Starttls::No).await;
            host.script("MAIL", &["wait"; 64]);
            routes = routes.with_static(&format!("slow{n}.example"), host.addr);
            for m in 0..20 {
                one(store, &format!("p{m}@slow{n}.example")).await;
            }
            slow.push(host);
        }
        let running = Running::start(store, routes, |c| {
            (c.claimed_max, c.domain_claimed_max, c.route_connections_max) = (32, 24, 2);
        })
        .await;
        until(store, "all slow hosts are busy", || async { slow.iter().all(|host| host.heard("MAIL") > 0) }).await;
        let id = one(store, "a@good.example").await;
        until(store, "it is sent", || async { delivery(store, id).await.0 == "done" }).await;
        for host in &slow {
            host.at_verb.lock().unwrap().clear();
            host.go.notify_waiters();
        }
        running.stop().await;
    })
    .await;
}

/// The agent of one process of several.
fn one_of_many(config: &mut AgentConfig) {
    (config.sole_owner, config.route_connections_max, config.look_ms) = (false, 1, 100);
}

/// Longer than a lease: another process has what this one had claimed.
async fn another_takes_over(t: &TestStore) {
    let store = &t.store;
    let (long, none) = (store.now().plus_ms(10 * 3_600_000), serde_json::json!([]));
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.execute("delivery.expire_leases", &values![i64::MAX]).await.unwrap(), 1);
    let taken = tx.query("delivery.claim_due", &values!["another", long, store.now(), 10_i64, &none]).await.unwrap();
    assert_eq!(taken.len(), 1);
    tx.commit().await.unwrap();
    t.clock.advance_ms(3_600_000);
}

/// The mail that comes next goes, and then it is clear that the one that was lost does not.
async fn only_the_next_is_sent(t: &TestStore, host: &Host, running: Running) {
    let next = one(&t.store, "next@there.example").await;
    until(&t.store, "the next is sent", || async { delivery(&t.store, next).await.0 == "done" }).await;
    running.stop().await;
    assert_eq!((host.heard("RCPT TO:<lost@"), host.heard("RCPT TO:<next@")), (0, 1), "on {}", t.name);
}

/// What another process has taken over in the meantime is not sent once more by whoever comes back to it.
#[tokio::test]
async fn what_is_somebody_elses_by_now_is_left_to_it() {
    on_both(|t| async move {
        let store = &t.store;
        let host = Host::start(&[], Starttls::No).await;
        let routes = Routes::new(Resolver::none()).with_static("there.example", host.addr);
        let lost = one(store, "lost@there.example").await;
        store.health().set_free_bytes_min(u64::MAX);
        until(store, "nothing is sent now", || async { store.health().trouble() == Some(Trouble::Full) }).await;
        let running = Running::start(store, routes, one_of_many).await;
        until(store, "it is claimed", || async { delivery(store, lost).await.0 == "leased" }).await;
        another_takes_over(&t).await;
        store.health().set_free_bytes_min(0);
        store.health().well().await;
        only_the_next_is_sent(&t, &host, running).await;
        let row = store.query_one("delivery.by_id", &values![ORGANISATION, lost]).await.unwrap().unwrap();
        assert_eq!((row.text("state").unwrap(), row.int("attempt_count").unwrap()), ("leased", 2), "it is untouched");
    })
    .await;
}

/// A result whose answer was lost is written again. By then the same agent may have begun the next try: that one goes on.
#[tokio::test]
async fn a_result_ends_its_own_try_and_no_later_one() {
    on_both(|t| async move {
        let store = &t.store;
        let id = one(store, "a@there.example").await;
        let (now, none) = (store.now(), serde_json::json!([]));
        let claim = async || {
            let mut tx = store.begin().await.unwrap();
            let row = values!["me", now.plus_ms(60_000), now, 10_i64, &none];
            assert_eq!(tx.query("delivery.claim_due", &row).await.unwrap().len(), 1);
            tx.commit().await.unwrap();
        };
        let write = async |statement: &'static str, first: store::Value, attempt_count: i64| {
            let mut tx = store.begin().await.unwrap();
            let row = [first].into_iter().chain(values!["a reply", id, "me", attempt_count]).collect();
            tx.execute_each(statement, vec![row]).await.unwrap();
            tx.commit().await.unwrap();
            delivery(store, id).await.0
        };
        claim().await;
        assert_eq!(write("delivery.defer", now.into(), 1).await, "due");
        claim().await;
        assert_eq!(
            write("delivery.defer", now.into(), 1).await,
            "leased",
            "on {}: the second try is under way",
            t.name
        );
        assert_eq!(write("delivery.finish", "done".into(), 1).await, "leased", "on {}", t.name);
        assert_eq!(write("delivery.finish", "done".into(), 2).await, "done", "on {}", t.name);
    })
    .await;
}

/// A host may take longer to answer than a lease lasts: whose a mail is is asked once more before it goes.
#[tokio::test]
async fn what_was_lost_while_connecting_is_not_sent() {
    on_both(|t| async move {
        let store = &t.store;
        let host = Host::start(&[], Starttls::No).await;
        host.script("EHLO", &["wait"]);
        let routes = Routes::new(Resolver::none()).with_static("there.example", host.addr);
        let running = Running::start(store, routes, one_of_many).await;
        let lost = one(store, "lost@there.example").await;
        until(store, "the host is asked", || async { host.heard("EHLO") == 1 }).await;
        another_takes_over(&t).await;
        host.go.notify_one();
        only_the_next_is_sent(&t, &host, running).await;
        assert_eq!(host.heard("EHLO"), 1, "the connection that was made is used");
        assert_eq!(delivery(store, lost).await.0, "leased", "it is the other's now");
    })
    .await;
}
