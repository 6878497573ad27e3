//! The agent with hosts that behave as hosts do: TLS of every kind, policies, limits, seven bits, many agents.

use std::sync::{Arc, Mutex};

use dns::Resolver;
use outbound::{
    AgentConfig, LimitLevel, LimitState, NewDelivery, QueueAct, QueueActor, ReportConfig, Routes, Selection, Shaping,
    StsConfig, TlsConfig, TlsLevel,
};
use rustls::pki_types::CertificateDer;
use store::{Store, StoreConfig, Topic, values};
use testkit::on_both;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::common::{
    Authority, HELLO, Host, ORGANISATION, Running, Starttls, delivery, enqueue, one, until, until_tried, zone,
};

/// Results of all days and domains: `kind of failure, or ok: count`.
async fn results(store: &Store, domain: &str) -> Vec<String> {
    let day = store.now().as_micros() / (24 * 3_600 * 1_000_000);
    let rows = store.query("tls.results_of", &values![day, domain, 100_i64]).await.unwrap();
    let mut all: Vec<String> = rows
        .iter()
        .map(|row| {
            let detail: serde_json::Value = row.json("detail").unwrap();
            let kind = detail["failure"]["result-type"].as_str().unwrap_or("ok");
            format!(
                "{} {kind}: {}",
                detail["policy"]["policy-type"].as_str().unwrap(),
                row.int("session_count").unwrap()
            )
        })
        .collect();
    all.sort();
    all
}

/// A mail that cannot go over a connection is not answered with what another mail's recipient was told there.
#[tokio::test]
async fn a_refusal_belongs_to_its_own_mail() {
    on_both(|t| async move {
        let host = Host::start(&[], Starttls::No).await;
        host.at_rcpt.lock().unwrap().insert("a@there.example".into(), ["550 5.1.1 nobody"].into());
        let routes = Routes::new(Resolver::none()).with_static("there.example", host.addr);
        let running = Running::start(&t.store, routes, |c| c.connections_max = 1).await;
        let signed = "DKIM-Signature: v=1\r\nSubject: x\r\n\r\nGrüße\r\n".as_bytes();
        let a = one(&t.store, "a@there.example").await;
        assert_eq!(&until_tried(&t.store, a).await.2[..9], "550 5.1.1");
        let b = enqueue(&t.store, &["b@there.example"], signed, |_| {}).await[0].0;
        assert_eq!(&until_tried(&t.store, b).await.2[..9], "554 5.6.3");
        assert_eq!(host.heard("EHLO"), 1, "both on one connection");
        running.stop().await;
    })
    .await;
}

/// Row 36: a handshake that fails costs one connection, and is remembered; a working one is used.
#[tokio::test]
async fn opportunistic_tls_is_used_where_it_works_and_given_up_where_it_does_not() {
    on_both(|t| async move {
        let store = &t.store;
        let authority = Authority::new();
        for (starttls, encrypted) in [(Starttls::Yes(authority.host("other.example").0), 1), (Starttls::Broken, 0)] {
            let is_broken = matches!(starttls, Starttls::Broken);
            let host = Host::start(&[], starttls).await;
            let routes = Routes::new(Resolver::none()).with_static("there.example", host.addr);
            let running = Running::start(store, routes, |c| {
                c.tls = authority.tls();
                c.connection_mails_max = 1;
            })
            .await;
            for n in 0..2 {
                let id = one(store, &format!("p{n}@there.example")).await;
                assert_eq!(until_tried(store, id).await.0, "done");
            }
            assert_eq!(host.heard("TLS"), encrypted * 2);
            // The broken host is asked for TLS once; the second mail goes in clear at once.
            assert_eq!(host.heard("STARTTLS"), if is_broken { 1 } else { 2 });
            running.stop().await;
        }
    })
    .await;
}

#[tokio::test]
async fn required_tls_waits_rather_than_going_in_clear() {
    on_both(|t| async move {
        let host = Host::start(&[], Starttls::No).await;
        let routes = Routes::new(Resolver::none()).with_static("there.example", host.addr);
        let running = Running::start(&t.store, routes, |c| {
            c.tls = TlsConfig { level: TlsLevel::Required, ..TlsConfig::off() };
        })
        .await;
        let id = one(&t.store, "a@there.example").await;
        let (state, _, reply) = until_tried(&t.store, id).await;
        assert_eq!(state, "due");
        assert!(reply.contains("does not offer TLS"), "{reply}");
        assert_eq!(host.heard("MAIL"), 0);
        running.stop().await;
    })
    .await;
}

/// RFC 3207 4: a host that wants TLS, with which TLS failed, speaks of the connection and not of the mail.
#[tokio::test]
async fn who_takes_nothing_in_clear_is_tried_again() {
    on_both(|t| async move {
        let host = Host::start(&[], Starttls::Broken).await;
        host.script("MAIL", &["530 5.7.0 Must issue a STARTTLS command first"]);
        let routes = Routes::new(Resolver::none()).with_static("there.example", host.addr);
        let running = Running::start(&t.store, routes, |c| c.tls = Authority::new().tls()).await;
        let id = one(&t.store, "a@there.example").await;
        let (state, _, reply) = until_tried(&t.store, id).await;
        assert_eq!((state.as_str(), reply.contains("after TLS failed: 530 5.7.0")), ("due", true), "{reply}");
        running.stop().await;
    })
    .await;
}

/// A policy server over real HTTPS: `answers` are the next status lines with headers and bodies.
async fn policy_server(
    tls: Arc<rustls::ServerConfig>,
    answers: Arc<Mutex<String>>,
) -> (u16, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = TlsAcceptor::from(tls.clone()).accept(stream).await else { continue };
            let mut request = [0; 4096];
            if stream.read(&mut request).await.is_ok_and(|n| request[..n].starts_with(b"GET /.well-known/mta-sts.txt "))
            {
                let answer = answers.lock().unwrap().clone();
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        }
    });
    (port, serving)
}

fn policy(mode: &str, mx: &str) -> String {
    let body = format!("version: STSv1\nmode: {mode}\nmx: {mx}\nmax_age: 86400\n");
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Row 33: enforce binds, testing only reports, none and what cannot be fetched do nothing; a kept policy outlives its server.
#[tokio::test]
async fn mta_sts_policies_are_kept_to() {
    on_both(|t| async move {
        let store = &t.store;
        let authority = Authority::new();
        let (good, bad) = (authority.host("mx.there.example").0, authority.host("else.example").0);
        let redirect = "HTTP/1.1 301 Moved\r\nLocation: https://mta-sts.there.example/x\r\nContent-Length: 0\r\n\r\n";
        let html = policy("enforce", "mx.there.example").replace("text/plain", "text/html");
        let huge = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 70000\r\n\r\n{}",
            "x".repeat(70_000)
        );
        for (answer, tls, state, part, result) in [
            (policy("enforce", "mx.there.example"), &good, "done", "250", "sts ok: 1"),
            (policy("enforce", "*.there.example"), &good, "done", "250", "sts ok: 1"),
            (policy("enforce", "mx.there.example"), &bad, "due", "certificate", "sts certificate-host-mismatch: 1"),
            (policy("enforce", "other.example"), &good, "due", "does not name", ""),
            (policy("testing", "mx.there.example"), &bad, "done", "250", "sts certificate-host-mismatch: 1"),
            (policy("testing", "other.example"), &good, "done", "250", "sts validation-failure: 1"),
            (policy("none", "mx.there.example"), &bad, "done", "250", "sts ok: 1"),
            (redirect.to_owned(), &bad, "done", "250", "sts sts-policy-fetch-error: 1"),
            (html, &bad, "done", "250", "sts sts-policy-fetch-error: 1"),
            (huge, &bad, "done", "250", "sts sts-policy-fetch-error: 1"),
        ] {
            // Each case has a day of its own: results, plans and kept policies of the last one are over.
            t.clock.advance_ms(2 * 24 * 3_600_000);
            let host = Host::start(&[], Starttls::Yes(tls.clone())).await;
            let (port, serving) =
                policy_server(authority.host("mta-sts.there.example").0, Arc::new(Mutex::new(answer.clone()))).await;
            let (_zone, resolver) = zone(
                "there.example MX 10 mx.there.example\nmx.there.example A 127.0.0.1\n\
                 mta-sts.there.example A 127.0.0.1\n_mta-sts.there.example TXT \"v=STSv1; id=1\"",
            )
            .await;
            let routes = Routes::new(resolver).with_mx_port(host.addr.port());
            let running = Running::start(store, routes, |c| {
                c.tls = authority.tls();
                c.tls.sts = Some(StsConfig { port, ..StsConfig::default() });
            })
            .await;
            let id = one(store, "a@there.example").await;
            let (got, _, reply) = until_tried(store, id).await;
            assert_eq!((got.as_str(), reply.contains(part)), (state, true), "{answer}: {reply}");
            serving.abort();
            running.stop().await;
            assert_eq!(results(store, "there.example").await.join(" "), result, "{answer}");
            outbound::delete(store, ORGANISATION, id, "test", "over").await.ok();
        }
    })
    .await;
}

#[tokio::test]
async fn a_kept_policy_outlives_its_record_and_its_server() {
    on_both(|t| async move {
        let store = &t.store;
        let authority = Authority::new();
        let host = Host::start(&[], Starttls::No).await;
        let answer = Arc::new(Mutex::new(policy("enforce", "mx.there.example")));
        let (port, serving) = policy_server(authority.host("mta-sts.there.example").0, answer).await;
        let names =
            "there.example MX 10 mx.there.example\nmx.there.example A 127.0.0.1\nmta-sts.there.example A 127.0.0.1\n";
        for record in
            ["_mta-sts.there.example TXT \"v=STSv1; id=1\"", "", "_mta-sts.there.example TXT \"v=STSv1; id=2\""]
        {
            let (_zone, resolver) = zone(&format!("{names}{record}")).await;
            let routes = Routes::new(resolver).with_mx_port(host.addr.port());
            let running = Running::start(store, routes, |c| {
                c.tls = authority.tls();
                c.tls.sts = Some(StsConfig { port, deadline_ms: 2_000 });
            })
            .await;
            let id = one(store, "a@there.example").await;
            let (state, _, reply) = until_tried(store, id).await;
            assert_eq!((state.as_str(), reply.contains("does not offer TLS")), ("due", true), "{record:?}: {reply}");
            running.stop().await;
            serving.abort();
        }
        assert_eq!(host.heard("MAIL"), 0);
    })
    .await;
}

/// RFC 8461 3.3: a policy is fetched again before its age is over, and kept when that fails.
#[tokio::test]
async fn a_policy_is_looked_at_again_before_it_ends() {
    on_both(|t| async move {
        let store = &t.store;
        let authority = Authority::new();
        let host = Host::start(&[], Starttls::No).await;
        let answer = Arc::new(Mutex::new(policy("enforce", "mx.there.example")));
        let (port, serving) = policy_server(authority.host("mta-sts.there.example").0, answer.clone()).await;
        let (_zone, resolver) = zone(
            "there.example MX 10 mx.there.example\nmx.there.example A 127.0.0.1\nmta-sts.there.example A 127.0.0.1\n\
             _mta-sts.there.example TXT \"v=STSv1; id=1\"",
        )
        .await;
        let routes = Routes::new(resolver).with_mx_port(host.addr.port());
        let tried = async |what: &str| {
            let running = Running::start(store, routes.clone(), |c| {
                c.tls = authority.tls();
                c.tls.sts = Some(StsConfig { port, deadline_ms: 2_000 });
            })
            .await;
            let id = one(store, "a@there.example").await;
            let state = until_tried(store, id).await.0;
            running.stop().await;
            outbound::delete(store, ORGANISATION, id, "test", what).await.ok();
            state
        };
        assert_eq!(tried("the first fetch").await, "due");
        t.clock.advance_ms(13 * 3_600_000); // of the 24 hours that it may be kept
        *answer.lock().unwrap() = "HTTP/1.1 500 Out\r\nContent-Length: 0\r\n\r\n".into();
        assert_eq!(tried("the second fetch fails").await, "due");
        *answer.lock().unwrap() = policy("none", "mx.there.example");
        assert_eq!(tried("its server says something else under the same id").await, "done");
        serving.abort();
    })
    .await;
}

/// Row 34, end to end: the host's own key or the authority above it binds; another one stops the mail.
#[tokio::test]
async fn dane_binds_to_the_records() {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let hex = &hex;
    on_both(|t| async move {
        let store = &t.store;
        let authority = Authority::new();
        let (tls, own) = authority.host("mx.there.example");
        let (elsewhere, _) = authority.host("else.example");
        let full = |der: &CertificateDer<'_>| hex(der);
        for (server, record, state) in [
            (&tls, format!("3 0 0 {}", full(&own)), "done"),
            (&tls, format!("2 0 0 {}", full(&authority.der)), "done"),
            (&elsewhere, format!("2 0 0 {}", full(&authority.der)), "due"),
            (&tls, format!("3 0 1 {}", "00".repeat(32)), "due"),
            (&tls, format!("1 0 1 {}", "00".repeat(32)), "done"),
        ] {
            t.clock.advance_ms(10 * 60_000);
            let host = Host::start(&[], Starttls::Yes(server.clone())).await;
            let port = host.addr.port();
            let (_zone, resolver) = zone(&format!(
                "$SECURE there.example\nthere.example MX 10 mx.there.example\nmx.there.example A 127.0.0.1\n\
                 _{port}._tcp.mx.there.example TLSA {record}"
            ))
            .await;
            let routes = Routes::new(resolver.trusting_ad()).with_mx_port(port);
            let running = Running::start(store, routes, |c| {
                c.tls = authority.tls();
                c.tls.tlsa_port = port;
            })
            .await;
            let id = one(store, "a@there.example").await;
            let (got, _, reply) = until_tried(store, id).await;
            assert_eq!(got, state, "{record}: {reply}");
            assert_eq!(host.heard("MAIL") > 0, state == "done");
            running.stop().await;
            outbound::delete(store, ORGANISATION, id, "test", "over").await.ok();
        }
    })
    .await;
}

/// RFC 8689 4.2.1 and 5: hosts without REQUIRETLS are passed over; where no host has it the sender is told, and shown nothing of the
/// mail.
#[tokio::test]
async fn require_tls_finds_the_host_that_does_it() {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let hex = &hex;
    on_both(|t| async move {
        let store = &t.store;
        let authority = Authority::new();
        let tls = |name: &str| Starttls::Yes(authority.host(name).0);
        let first = Host::start(&["DSN"], tls("mx1.there.example")).await;
        let port = first.addr.port();
        let second = Host::start_at(&format!("127.0.0.2:{port}"), &["REQUIRETLS"], tls("mx2.there.example")).await;
        let home = Host::start(&[], Starttls::No).await;
        let anchor = hex(&authority.der);
        let (_zone, resolver) = zone(&format!(
            "$SECURE example\nthere.example MX 10 mx1.there.example\nthere.example MX 20 mx2.there.example\n\
             old.example MX 10 mx1.there.example\nmx1.there.example A 127.0.0.1\nmx2.there.example A 127.0.0.2\n\
             _{port}._tcp.mx1.there.example TLSA 2 0 0 {anchor}\n_{port}._tcp.mx2.there.example TLSA 2 0 0 {anchor}"
        ))
        .await;
        let routes = Routes::new(resolver.trusting_ad()).with_mx_port(port).with_static("us.example", home.addr);
        let running = Running::start(store, routes, |c| {
            c.tls = authority.tls();
            c.tls.tlsa_port = port;
        })
        .await;
        let strict = |new: &mut NewDelivery| (new.options.require_tls, new.may_tell) = (true, true);
        let id = enqueue(store, &["a@there.example"], HELLO, strict).await[0].0;
        let (state, _, reply) = until_tried(store, id).await;
        assert_eq!(state, "done", "{reply}");
        assert_eq!((first.heard("MAIL"), first.heard("QUIT")), (0, 1));
        assert_eq!(second.heard("MAIL FROM:<news@us.example> REQUIRETLS"), 1);
        let id = enqueue(store, &["a@old.example"], HELLO, strict).await[0].0;
        let (state, _, reply) = until_tried(store, id).await;
        assert_eq!((state.as_str(), &reply[..10]), ("failed", "550 5.7.30"), "{reply}");
        until(store, "the sender is told", || async { home.heard("Status: 5.7.30") == 1 }).await;
        assert_eq!((home.heard("Subject: Not delivered"), home.heard("Subject: hello")), (1, 0), "{:?}", home.lines());
        running.stop().await;
    })
    .await;
}

/// Row 35: a day's results go to who asks for them, by mail, once; the report's own session is nobody's result.
#[tokio::test]
async fn results_are_reported_once_and_never_about_reports() {
    on_both(|t| async move {
        let store = &t.store;
        let authority = Authority::new();
        let host = Host::start(&[], Starttls::Yes(authority.host("x.example").0)).await;
        let (_zone, resolver) = zone(
            "there.example MX 10 mx.there.example\nmx.there.example A 127.0.0.1\n\
             _smtp._tls.there.example TXT \"v=TLSRPTv1; rua=mailto:tls@there.example\"",
        )
        .await;
        let routes = Routes::new(resolver).with_mx_port(host.addr.port());
        let change = |c: &mut AgentConfig| {
            c.tls = authority.tls();
            c.reports = Some(ReportConfig {
                organisation_id: ORGANISATION,
                organisation_name: "Us".into(),
                from: "postmaster@us.example".parse().unwrap(),
                signer: Some(Arc::new(|_| Box::pin(async { Ok(Some(b"DKIM-Signature: test\r\n".to_vec())) }))),
            });
        };
        let running = Running::start(store, routes.clone(), change).await;
        let id = one(store, "a@there.example").await;
        until_tried(store, id).await;
        running.stop().await;
        assert_eq!(results(store, "there.example").await, ["no-policy-found ok: 1"]);

        t.clock.advance_ms(24 * 3_600_000);
        let running = Running::start(store, routes.clone(), change).await;
        until(store, "the report is sent", || async { host.heard("RCPT TO:<tls@there.example>") == 1 }).await;
        until(store, "the queue is empty", || async {
            outbound::queue_summary(store, ORGANISATION).await.unwrap().is_empty()
        })
        .await;
        running.stop().await;
        let lines = host.lines();
        for part in ["DKIM-Signature: test", "TLS-Report-Domain: there.example", "TLS-Report-Submitter: us.example"] {
            assert!(lines.iter().any(|line| line == part), "{part} in {lines:?}");
        }
        let report = decode(&lines);
        assert_eq!(report["policies"][0]["summary"]["total-successful-session-count"], 1);
        assert_eq!(report["policies"][0]["policy"]["policy-domain"], "there.example");
        assert_eq!(report["organization-name"], "Us");
        assert_eq!(results(store, "there.example").await, Vec::<String>::new(), "no result of the report itself");

        let running = Running::start(store, routes, change).await;
        let id = one(store, "b@there.example").await;
        until_tried(store, id).await;
        running.stop().await;
        assert_eq!(host.heard("RCPT TO:<tls@there.example>"), 1, "never twice");
    })
    .await;
}

/// The JSON behind base64 and gzip in a report's mail.
fn decode(lines: &[String]) -> serde_json::Value {
    let at = lines.iter().position(|line| line.starts_with("Content-Disposition: attachment")).expect("a file");
    let text: String = lines[at..]
        .iter()
        .skip_while(|l| !l.is_empty())
        .skip(1)
        .take_while(|l| !l.starts_with("--"))
        .cloned()
        .collect();
    let gz = data_encoding::BASE64.decode(text.as_bytes()).expect("base64");
    let mut json = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&gz[..]), &mut json).expect("gzip");
    serde_json::from_str(&json).expect("JSON")
}

/// Row 10: a host that takes seven bits gets them; what would break is refused with 5.6.3.
#[tokio::test]
async fn a_seven_bit_host_gets_seven_bits_or_a_refusal() {
    on_both(|t| async move {
        let host = Host::start(&[], Starttls::No).await;
        let routes = Routes::new(Resolver::none()).with_static("there.example", host.addr);
        let running = Running::start(&t.store, routes, |_| {}).await;
        let plain =
            "Subject: x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nGrüße an alle dort, die das hier lesen\r\n"
                .as_bytes();
        let signed = "DKIM-Signature: v=1\r\nSubject: x\r\n\r\nGrüße\r\n".as_bytes();
        let a = enqueue(&t.store, &["a@there.example"], plain, |_| {}).await[0].0;
        let b = enqueue(&t.store, &["b@there.example"], signed, |_| {}).await[0].0;
        let c = one(&t.store, "jürgen@there.example").await;
        assert_eq!(until_tried(&t.store, a).await.0, "done");
        assert!(
            host.lines().contains(&"Gr=C3=BC=C3=9Fe an alle dort, die das hier lesen".to_owned()),
            "{:?}",
            host.lines()
        );
        let (state, _, reply) = until_tried(&t.store, b).await;
        assert_eq!((state.as_str(), &reply[..9]), ("failed", "554 5.6.3"));
        let (state, _, reply) = until_tried(&t.store, c).await;
        assert_eq!((state.as_str(), &reply[..9]), ("failed", "553 5.6.7"), "row 11");
        running.stop().await;
    })
    .await;
}

/// Row 11: a header section beyond ASCII goes as it is where it is known, encoded elsewhere; where it has no other form it comes
/// back, and its sender is told.
#[tokio::test]
async fn a_header_beyond_ascii_goes_only_where_it_can() {
    on_both(|t| async move {
        let store = &t.store;
        let names = "From: Zoë <a@us.example>\r\nSubject: Grüße\r\n\r\nhi\r\n".as_bytes();
        let signed = "DKIM-Signature: v=1\r\nSubject: Grüße\r\n\r\nhi\r\n".as_bytes();
        let address = "From: zoë@us.example\r\nSubject: x\r\n\r\nhi\r\n".as_bytes();
        let old = Host::start(&["8BITMIME"], Starttls::No).await;
        let new = Host::start(&["8BITMIME", "SMTPUTF8"], Starttls::No).await;
        let routes = Routes::new(Resolver::none())
            .with_static("old.example", old.addr)
            .with_static("new.example", new.addr)
            .with_static("us.example", new.addr);
        let running = Running::start(store, routes, |_| {}).await;
        for body in [names, signed, address] {
            let id = enqueue(store, &["a@new.example"], body, |_| {}).await[0].0;
            assert_eq!(until_tried(store, id).await.0, "done");
        }
        assert_eq!(new.heard("MAIL FROM:<news@us.example> BODY=8BITMIME SMTPUTF8"), 3);
        assert!(new.lines().contains(&"From: zoë@us.example".to_owned()));
        for body in [names, signed] {
            let id = enqueue(store, &["a@old.example"], body, |_| {}).await[0].0;
            assert_eq!(until_tried(store, id).await.0, "done");
        }
        for line in ["From: =?utf-8?B?Wm/Dqw==?= <a@us.example>", "Subject: =?utf-8?B?R3LDvMOfZQ==?=", "Subject: Grüße"]
        {
            assert!(old.lines().contains(&line.to_owned()), "{line}: {:?}", old.lines());
        }
        let id = enqueue(store, &["a@old.example"], address, |new| new.may_tell = true).await[0].0;
        let (state, _, reply) = until_tried(store, id).await;
        assert_eq!((state.as_str(), &reply[..9]), ("failed", "553 5.6.7"));
        until(store, "the sender is told", || async { new.heard("Status: 5.6.7") == 1 }).await;
        assert_eq!((new.heard("MAIL FROM:<>"), new.heard("RCPT TO:<news@us.example>")), (1, 1));
        running.stop().await;
    })
    .await;
}

/// What the sender asked for goes along where it is known; a domain beyond ASCII goes as A-labels.
#[tokio::test]
async fn dsn_parameters_and_domains_reach_the_host() {
    on_both(|t| async move {
        let host = Host::start(&["DSN"], Starttls::No).await;
        let routes = Routes::new(Resolver::none()).with_static("xn--bcher-kva.example", host.addr);
        let running = Running::start(&t.store, routes, |_| {}).await;
        let change = |new: &mut NewDelivery| {
            new.options.envid = "e1".into();
            new.options.ret = "HDRS".into();
            new.rcpt_options.notify = "NEVER".into();
        };
        let id = enqueue(&t.store, &["a@bücher.example"], HELLO, change).await[0].0;
        assert_eq!(until_tried(&t.store, id).await.0, "done");
        let lines = host.lines();
        assert!(lines.contains(&"MAIL FROM:<news@us.example> RET=HDRS ENVID=e1".to_owned()), "{lines:?}");
        assert!(lines.contains(&"RCPT TO:<a@xn--bcher-kva.example> NOTIFY=NEVER".to_owned()), "{lines:?}");
        running.stop().await;
    })
    .await;
}

/// Row 45: a host that says "too much" gets fewer connections, then none for a while, and the reason can be seen.
#[tokio::test]
async fn a_host_that_says_too_much_is_left_alone() {
    on_both(|t| async move {
        let store = &t.store;
        let host = Host::start(&[], Starttls::No).await;
        host.banners.lock().unwrap().extend(["421 4.7.0 too many connections"; 1]);
        let (_zone, resolver) = zone("there.example MX 10 mx.there.example\nmx.there.example A 127.0.0.1").await;
        let routes = Routes::new(resolver).with_mx_port(host.addr.port());
        let running = Running::start(store, routes, |c| c.route_connections_max = 1).await;
        let first = one(store, "a@there.example").await;
        until_tried(store, first).await;
        let lines = running.agent.limits().lines();
        let group = lines.iter().find(|line| line.name == "mx.there.example").expect("the group");
        assert_eq!((group.level, group.state, group.connections_max), (LimitLevel::Group, LimitState::Paused, Some(1)));
        assert!(group.reason.contains("421") && group.last_reply.contains("421"), "{group:?}");
        let paused_until = group.paused_until.expect("a pause");
        // Whoever looks at the queue sees it too, from any process on this database.
        until(store, "it can be seen", || async { !outbound::limits_now(store).await.unwrap().is_empty() }).await;
        let seen = outbound::limits_now(store).await.unwrap();
        assert_eq!((seen.len(), &seen[0].line), (1, group), "on {}", t.name);
        assert_eq!((seen[0].line.mx_group.as_str(), seen[0].line.eases_at), ("there.example", Some(paused_until)));

        // A new mail for the group is put off without being tried.
        let second = one(store, "b@there.example").await;
        until(store, "it is put off", || async {
            let row = store.query_one("delivery.by_id", &values![ORGANISATION, second]).await.unwrap().unwrap();
            row.text("state").unwrap() == "due" && row.at("next_try_at").unwrap() == paused_until
        })
        .await;
        assert_eq!((delivery(store, second).await.1, host.heard("MAIL")), (0, 0));
        t.clock.set(paused_until.plus_ms(1));
        store.bus().announce(Topic::Delivery, 0_i64);
        until(store, "it is sent", || async { delivery(store, second).await.0 == "done" }).await;
        running.stop().await;
        assert_eq!(outbound::limits_now(store).await.unwrap(), [], "nothing is left of an agent that has stopped");
    })
    .await;
}

/// A person who asks for a try gets one, also at hosts that are being left alone; what is held stays held for a flush.
#[tokio::test]
async fn what_is_asked_for_is_tried_although_its_hosts_are_left_alone() {
    const ME: QueueActor<'_> = QueueActor { account_id: None, name: "ada", reason: "they say that it works again" };
    on_both(|t| async move {
        let store = &t.store;
        let host = Host::start(&[], Starttls::No).await;
        host.banners.lock().unwrap().extend(["421 4.7.0 too many connections"; 2]);
        let (_zone, resolver) = zone("there.example MX 10 mx.there.example\nmx.there.example A 127.0.0.1").await;
        let routes = Routes::new(resolver).with_mx_port(host.addr.port());
        let running = Running::start(store, routes, |c| c.route_connections_max = 1).await;
        let is_paused = || {
            let lines = running.agent.limits().lines();
            lines.iter().any(|line| line.name == "mx.there.example" && line.state == LimitState::Paused)
        };
        let acted = async |selection: Selection, what| {
            until(store, "the pause can be seen", || async { !outbound::limits_now(store).await.unwrap().is_empty() })
                .await;
            t.clock.advance_ms(10);
            outbound::act(store, ORGANISATION, &selection, what, &ME).await.unwrap()
        };
        let first = one(store, "a@there.example").await;
        until_tried(store, first).await;
        let second = one(store, "b@there.example").await;
        let held = enqueue(store, &["c@there.example"], HELLO, |new| new.held = true).await[0].0;
        until(store, "the second is put off", || async {
            let row = store.query_one("delivery.by_id", &values![ORGANISATION, second]).await.unwrap().unwrap();
            row.text("state").unwrap() == "due" && row.at("next_try_at").unwrap() > store.now()
        })
        .await;
        assert!(is_paused());

        let one = acted(Selection { id: Some(first), ..Selection::default() }, QueueAct::Retry).await;
        assert_eq!((one.changed_count, one.lifted), (1, vec!["there.example".to_owned()]));
        until(store, "it is tried once more", || async {
            let (state, count, _) = delivery(store, first).await;
            state == "due" && count == 2
        })
        .await;
        assert!(is_paused(), "the host said the same again, and is left alone again");

        let all = acted(Selection::default(), QueueAct::Flush).await;
        assert_eq!((all.changed_count, all.left_count, all.lifted), (2, 1, vec!["there.example".to_owned()]));
        for id in [first, second] {
            until(store, "it goes", || async { delivery(store, id).await.0 == "done" }).await;
        }
        assert_eq!(delivery(store, held).await.0, "held");
        running.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_rate_puts_mails_off_and_counts_no_try() {
    on_both(|t| async move {
        let store = &t.store;
        let host = Host::start(&[], Starttls::No).await;
        let (_zone, resolver) = zone("there.example MX 10 mx.there.example\nmx.there.example A 127.0.0.1").await;
        let routes = Routes::new(resolver).with_mx_port(host.addr.port());
        let shaping: Shaping =
            serde_json::from_value(serde_json::json!({ "domain": { "there.example": { "messages_per_minute": 2 } } }))
                .unwrap();
        let running = Running::start(store, routes, |c| c.shaping = shaping).await;
        let mut ids = Vec::new();
        for n in 0..4 {
            ids.push(one(store, &format!("p{n}@there.example")).await);
        }
        for sent_count in 1..=4 {
            let done = || async {
                let mut count = 0;
                for id in &ids {
                    count += usize::from(delivery(store, *id).await.0 == "done");
                }
                count
            };
            until(store, "the next is sent", || async { done().await >= sent_count }).await;
            until(store, "the others wait", || async {
                let counts = store.query("delivery.summary", &values![ORGANISATION, 10_i64]).await.unwrap();
                counts.iter().all(|row| row.text("state").unwrap() == "due")
            })
            .await;
            assert_eq!(done().await, sent_count, "one at a time, half a minute apart");
            t.clock.advance_ms(30_001);
            store.bus().announce(Topic::Delivery, 0_i64);
        }
        for id in ids {
            assert_eq!(delivery(store, id).await.1, 1, "being put off is no try");
        }
        running.stop().await;
    })
    .await;
}

/// Row 44: ten agents, each with its own store on one database, a hundred mails: each once.
#[tokio::test]
async fn ten_agents_on_one_database_send_each_mail_once() {
    on_both(|t| async move {
        let host = Host::start(&["PIPELINING"], Starttls::No).await;
        let to: Vec<String> = (0..100).map(|n| format!("p{n}@there.example")).collect();
        let mut ids = Vec::new();
        for to in &to {
            ids.push(one(&t.store, to).await);
        }
        let mut agents = Vec::new();
        for node in 10..20 {
            let config = StoreConfig { node, ..t.config.clone() };
            let store = Store::open(config, t.clock.clone()).await.unwrap();
            let routes = Routes::new(Resolver::none()).with_static("there.example", host.addr);
            let running = Running::start(&store, routes, |c| {
                c.sole_owner = false;
                c.claimed_max = 8;
                c.look_ms = 50;
            })
            .await;
            agents.push((running, store));
        }
        for id in ids {
            until(&t.store, "it is done", || async { delivery(&t.store, id).await.0 == "done" }).await;
            assert_eq!(delivery(&t.store, id).await.1, 1);
        }
        for (running, _) in agents {
            running.stop().await;
        }
        for to in &to {
            assert_eq!(host.heard(&format!("RCPT TO:<{to}>")), 1, "{to}");
        }
    })
    .await;
}
