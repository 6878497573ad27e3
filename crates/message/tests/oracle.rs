//! DKIM and ARC beside an independent implementation (dkimpy): what we sign passes there, what is signed there passes here, and
//! what was tampered with passes nowhere.
//!
//! `scripts/setup.sh test` installs it; `LANDFALL_PYTHON` names another Python that has it.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use data_encoding::BASE64;
use dns::{Resolver, ZoneServer};
use message::Authenticator;
use message::arc::{ARC_SETS_MAX, ArcSealer, Sealing};
use message::dkim::{DkimKey, Signer};
use model::{Address, AuthFacts, AuthResult, BodyType, ClientInfo, Envelope, Timestamp};
use serde_json::{Value, json};

const RSA_512: &str = include_str!("../testdata/keys/rsa512.pem");
const RSA_1024: &str = include_str!("../testdata/keys/rsa1024.pem");
const RSA_2048: &str = include_str!("../testdata/keys/rsa2048.pem");
const RSA_4096: &str = include_str!("../testdata/keys/rsa4096.pem");
/// RFC 8463 A.2: the seed as dkimpy takes it, and the same key as we do.
const ED25519_SEED: &str = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
const ED25519: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";
/// The public halves of [`RSA_512`] and [`RSA_1024`], which our own code refuses to sign with.
const RSA_1024_RECORD: &str = concat!("v=DKIM1; k=rsa; p=", include_str!("../testdata/keys/rsa1024.pub"));
const RSA_512_RECORD: &str = concat!("v=DKIM1; k=rsa; p=", include_str!("../testdata/keys/rsa512.pub"));
const DEADLINE: Duration = Duration::from_secs(20);
const AT: i64 = 1_710_410_043;

const PLAIN: &str = "From: Ada <ada@fabrikam.example>\r\nTo: bob@contoso.example\r\nSubject: Two  blanks\r\n and a fold\r\n\
                     Date: Thu, 14 Mar 2024 09:54:03 +0000\r\nMessage-ID: <1@fabrikam.example>\r\n\r\nHello  there. \r\n\r\n.dot\r\n\r\n\r\n";
const EMPTY_BODY: &str = "From: Ada <ada@fabrikam.example>\r\nTo: bob@contoso.example\r\nSubject: nothing\r\n\r\n";
const EIGHT_BIT: &str = "From: Ada <ada@fabrikam.example>\r\nTo: bob@contoso.example\r\nSubject: B\u{fc}cher\r\n\
                         Content-Type: text/plain; charset=utf-8\r\n\r\nGr\u{fc}\u{df}e\t \r\n";

fn python() -> PathBuf {
    if let Some(python) = std::env::var_os("LANDFALL_PYTHON") {
        return python.into();
    }
    let home = std::env::var_os("HOME").map(PathBuf::from).expect("a home directory");
    home.join(".cache/landfall-python/bin/python")
}

/// Lets dkimpy do what the orders say.
fn oracle(orders: &[Value]) -> Vec<Value> {
    let python = python();
    let mut child = Command::new(&python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracle.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}; `scripts/setup.sh test` installs dkimpy", python.display()));
    child.stdin.take().unwrap().write_all(json!(orders).to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "the oracle failed; `scripts/setup.sh test` installs dkimpy");
    let answers: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answers.len(), orders.len());
    answers
}

fn bytes(answer: &Value) -> Vec<u8> {
    BASE64.decode(answer.as_str().unwrap().as_bytes()).unwrap()
}

fn key(pem: &str) -> DkimKey {
    DkimKey::from_pem(pem).unwrap()
}

/// Every key that a test signs with, under a selector of its own at both domains.
fn zone() -> BTreeMap<String, String> {
    let mut zone = BTreeMap::new();
    for domain in ["fabrikam.example", "lists.example"] {
        let keys = [("r2048", RSA_2048), ("r4096", RSA_4096), ("ed", ED25519)];
        for (selector, pem) in keys {
            zone.insert(format!("{selector}._domainkey.{domain}"), key(pem).txt_record());
        }
        zone.insert(format!("r1024._domainkey.{domain}"), RSA_1024_RECORD.trim().to_owned());
        zone.insert(format!("r512._domainkey.{domain}"), RSA_512_RECORD.trim().to_owned());
        zone.insert(format!("revoked._domainkey.{domain}"), "v=DKIM1; k=rsa; p=".to_owned());
    }
    zone
}

struct World {
    _server: ZoneServer,
    authenticator: Authenticator,
}

async fn world() -> World {
    let records = zone().into_iter().map(|(name, text)| format!("{name} TXT \"{text}\"\n"));
    let zone = records.collect::<String>() + "_dmarc.fabrikam.example TXT \"v=DMARC1; p=reject\"\n";
    let server = ZoneServer::start(&zone, SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let authenticator = Authenticator::new(&Resolver::at(server.addr()).unwrap(), "mx.contoso.example");
    World { _server: server, authenticator }
}

impl World {
    async fn facts(&self, raw: &[u8]) -> AuthFacts {
        let mut client = ClientInfo::at("192.0.2.1".parse().unwrap());
        client.helo = "mail.lists.example".into();
        let envelope = Envelope {
            reverse_path: "list@lists.example".parse().unwrap(),
            forward_paths: vec![Address::parse("bob@contoso.example").unwrap()],
            body_type: BodyType::EightBitMime,
            declared_size_bytes: None,
            options: Default::default(),
            rcpt_options: Vec::new(),
            client,
        };
        self.authenticator.authenticate(raw, &envelope, DEADLINE).await
    }

    async fn dkim(&self, raw: &[u8]) -> Vec<(AuthResult, String)> {
        self.facts(raw).await.dkim.into_iter().map(|d| (d.result, d.reason)).collect()
    }
}

fn replaced(raw: &[u8], from: &str, to: &str) -> Vec<u8> {
    let at = raw.windows(from.len()).position(|window| window == from.as_bytes()).expect(from);
    [&raw[..at], to.as_bytes(), &raw[at + from.len()..]].concat()
}

fn verify(raw: &[u8], index: usize) -> Value {
    json!({ "do": "verify", "message": BASE64.encode(raw), "zone": zone(), "index": index })
}

fn passed() -> (AuthResult, String) {
    (AuthResult::Pass, String::new())
}

#[tokio::test]
async fn what_we_sign_passes_there() {
    let world = world().await;
    let (mut orders, mut expected) = (Vec::new(), Vec::new());
    for message in [PLAIN, EMPTY_BODY, EIGHT_BIT] {
        for (selector, pem) in [("r2048", RSA_2048), ("r4096", RSA_4096)] {
            let signer = Signer::new(&key(ED25519), "fabrikam.example", "ed").unwrap();
            let signer = signer.and(&key(pem), "fabrikam.example", selector).unwrap();
            let raw = [signer.sign(message.as_bytes()).unwrap(), message.as_bytes().to_vec()].concat();
            assert_eq!(world.dkim(&raw).await, [passed(), passed()], "{selector}");
            let tampered = [
                replaced(&raw, "From: Ada", "From: Eve"),
                replaced(&raw, "\r\n\r\n", "\r\n\r\nAdded.\r\n"),
                replaced(&raw, "From: Ada", "From: eve@evil.example\r\nFrom: Ada"),
            ];
            for (raw, is_true) in std::iter::once((raw, true)).chain(tampered.map(|raw| (raw, false))) {
                if !is_true {
                    assert!(!world.dkim(&raw).await.contains(&passed()));
                }
                for index in [0, 1] {
                    orders.push(verify(&raw, index));
                    expected.push(json!(is_true));
                }
            }
        }
    }
    assert_eq!(oracle(&orders), expected);
}

#[tokio::test]
async fn what_is_signed_there_passes_here() {
    let world = world().await;
    let keys = [
        ("r1024", RSA_1024, "rsa-sha256"),
        ("r2048", RSA_2048, "rsa-sha256"),
        ("r4096", RSA_4096, "rsa-sha256"),
        ("ed", ED25519_SEED, "ed25519-sha256"),
    ];
    let mut orders = Vec::new();
    for message in [PLAIN, EMPTY_BODY, EIGHT_BIT] {
        for (selector, key, algorithm) in keys {
            for canonicalization in ["relaxed/relaxed", "relaxed/simple", "simple/relaxed", "simple/simple"] {
                orders.push(json!({
                    "do": "sign", "message": BASE64.encode(message.as_bytes()), "selector": selector, "key": key,
                    "domain": "fabrikam.example", "algorithm": algorithm, "canonicalization": canonicalization,
                }));
            }
        }
    }
    let mut checks = Vec::new();
    for (order, answer) in orders.iter().zip(oracle(&orders)) {
        let raw = bytes(&answer);
        assert_eq!(world.dkim(&raw).await, [passed()], "{order}");
        let tampered = replaced(&raw, "\r\n\r\n", "\r\n\r\nAdded.\r\n");
        let expected = (AuthResult::Fail, "body hash did not verify".to_owned());
        assert_eq!(world.dkim(&tampered).await, [expected], "{order}");
        let renamed = replaced(&raw, "From: Ada", "From: Eve");
        assert_eq!(world.dkim(&renamed).await, [(AuthResult::Fail, "signature did not verify".to_owned())], "{order}");
        checks.extend([verify(&tampered, 0), verify(&renamed, 0)]);
    }
    assert!(oracle(&checks).iter().all(|answer| *answer == json!(false)));
}

#[tokio::test]
async fn signatures_that_nobody_believes() {
    let world = world().await;
    let order = |selector: &str, key: &str, length: bool| {
        json!({
            "do": "sign", "message": BASE64.encode(PLAIN.as_bytes()), "selector": selector, "key": key,
            "domain": "fabrikam.example", "length": length,
        })
    };
    let made =
        oracle(&[order("r2048", RSA_2048, true), order("revoked", RSA_2048, false), order("r512", RSA_512, false)]);
    let [partial, revoked, short] = [bytes(&made[0]), bytes(&made[1]), bytes(&made[2])];
    let longer = [partial.clone(), b"Pay here: https://evil.example\r\n".to_vec()].concat();
    let reason = |result: AuthResult, reason: &str| [(result, reason.to_owned())];
    let unsigned_part = reason(AuthResult::Neutral, "a part of the body is not signed");
    assert_eq!(world.dkim(&partial).await, unsigned_part);
    assert_eq!(world.dkim(&longer).await, unsigned_part, "dkimpy would take it: {:?}", oracle(&[verify(&longer, 0)]));
    assert_eq!(world.dkim(&revoked).await, reason(AuthResult::PermError, "key revoked"));
    assert_eq!(world.dkim(&short).await, reason(AuthResult::PermError, "key too short"));

    let whole = bytes(&oracle(&[order("r2048", RSA_2048, false)])[0]);
    let expired = replaced(&whole, " t=", " x=1000000001; t=1000000000; q=dns/txt; z=");
    assert_eq!(world.dkim(&expired).await[0].0, AuthResult::Fail, "{:?}", world.dkim(&expired).await);
    let unknown = replaced(&whole, "s=r2048", "s=missing");
    assert_eq!(world.dkim(&unknown).await, reason(AuthResult::PermError, "no key for signature"));
    let weak = replaced(&whole, "rsa-sha256", "rsa-sha1");
    assert_ne!(world.dkim(&weak).await[0].0, AuthResult::Pass);
}

/// A message that fabrikam signed and a list changed.
fn listed(message: &str) -> Vec<u8> {
    let signer = Signer::new(&key(RSA_2048), "fabrikam.example", "r2048").unwrap();
    let raw = [signer.sign(message.as_bytes()).unwrap(), message.as_bytes().to_vec()].concat();
    replaced(&raw, "\r\n\r\n", "\r\n\r\n[list]\r\n")
}

fn ours(raw: &[u8], chain: AuthResult, results: &str) -> Option<Vec<u8>> {
    let sealer = ArcSealer::new(&key(RSA_2048), "lists.example", "r2048").unwrap();
    let at = Timestamp::from_micros(AT * 1_000_000);
    let set = sealer.seal(raw, &Sealing { authserv_id: "mx.lists.example", results, chain, at }).unwrap()?;
    Some([set.into_bytes(), raw.to_vec()].concat())
}

fn theirs(raw: &[u8], chain: AuthResult) -> Value {
    let results =
        format!("Authentication-Results: mx.other.example; arc={chain}; dmarc=pass header.from=fabrikam.example\r\n");
    let raw = [results.as_bytes(), raw].concat();
    json!({
        "do": "seal", "message": BASE64.encode(&raw), "selector": "r2048", "domain": "fabrikam.example", "key": RSA_2048,
        "authserv_id": "mx.other.example", "at": AT,
    })
}

fn chain(raw: &[u8]) -> Value {
    json!({ "do": "chain", "message": BASE64.encode(raw), "zone": zone() })
}

#[tokio::test]
async fn chains_of_both_hold_on_both_sides() {
    let world = world().await;
    for message in [PLAIN, EMPTY_BODY, EIGHT_BIT] {
        let raw = listed(message);
        assert_eq!(world.facts(&raw).await.arc, AuthResult::None);
        let first = ours(&raw, AuthResult::None, "spf=pass smtp.mailfrom=a@fabrikam.example;\r\n\tdmarc=pass").unwrap();
        let second = bytes(&oracle(&[theirs(&first, AuthResult::Pass)])[0]);
        let third = ours(&second, AuthResult::Pass, "arc=pass").unwrap();
        let other = bytes(&oracle(&[theirs(&raw, AuthResult::None)])[0]);
        let chains = [first, second, third.clone(), other];
        for raw in &chains {
            let facts = world.facts(raw).await;
            assert_eq!(facts.arc, AuthResult::Pass, "{}", String::from_utf8_lossy(raw));
        }
        let sealers = |facts: AuthFacts| {
            let sets = facts.arc_sets.into_iter().map(|set| format!("{} {}", set.domain, set.dmarc));
            sets.collect::<Vec<_>>().join(", ")
        };
        let found = sealers(world.facts(&third).await);
        assert_eq!(found, "lists.example none, fabrikam.example pass, lists.example pass");
        let there = oracle(&chains.each_ref().map(|raw| chain(raw)));
        assert_eq!(there, ["pass"; 4].map(Value::from), "{message:?}");
    }
}

#[tokio::test]
async fn broken_chains_fail_on_both_sides() {
    let world = world().await;
    let raw = listed(PLAIN);
    let first = ours(&raw, AuthResult::None, "dmarc=pass").unwrap();
    let second = ours(&first, AuthResult::Pass, "dmarc=fail").unwrap();
    let cases = [
        ("body", replaced(&second, "Hello", "Hullo")),
        ("subject", replaced(&second, "Subject: Two", "Subject: Ten")),
        (
            "results of i=1",
            replaced(&second, "i=1; mx.lists.example;\r\n\tdmarc=pass", "i=1; mx.lists.example;\r\n\tdmarc=fail"),
        ),
        (
            "results of i=2",
            replaced(&second, "i=2; mx.lists.example;\r\n\tdmarc=fail", "i=2; mx.lists.example;\r\n\tdmarc=pass"),
        ),
        ("seal of i=1 is gone", replaced(&second, "ARC-Seal: i=1", "X-Was: i=1")),
        ("no i=1", replaced(&first, "ARC-Authentication-Results: i=1", "ARC-Authentication-Results: i=2")),
        ("cv=fail", replaced(&second, "cv=pass", "cv=fail")),
        ("cv=none at i=2", replaced(&second, "cv=pass", "cv=none")),
        ("a selector without a key", replaced(&second, "s=r2048", "s=missing")),
    ];
    let there = oracle(&cases.each_ref().map(|(_, raw)| chain(raw)));
    for ((name, raw), there) in cases.iter().zip(&there) {
        let facts = world.facts(raw).await;
        assert_eq!(facts.arc, AuthResult::Fail, "{name}");
        assert!(facts.arc_sets.is_empty(), "{name}: nobody's words stay");
        assert_ne!(*there, json!("pass"), "{name}");
    }

    // A chain that failed is closed once: i=3 says cv=fail, and nobody adds a fourth set.
    let broken = &cases[0].1;
    let closed = ours(broken, AuthResult::Fail, "arc=fail").unwrap();
    assert!(String::from_utf8_lossy(&closed).contains("ARC-Seal: i=3; a=rsa-sha256; t=1710410043; cv=fail;"));
    assert_eq!(world.facts(&closed).await.arc, AuthResult::Fail);
    assert_eq!(ours(&closed, AuthResult::Fail, "arc=fail"), None);
    assert_eq!(ours(&second, AuthResult::TempError, "arc=temperror"), None, "what could not be checked is not sealed");
}

#[tokio::test]
async fn chains_have_an_end() {
    let world = world().await;
    let mut raw = listed(PLAIN);
    let mut state = AuthResult::None;
    for _ in 0..ARC_SETS_MAX {
        raw = ours(&raw, state, "dmarc=pass").unwrap();
        state = AuthResult::Pass;
    }
    let facts = world.facts(&raw).await;
    assert_eq!((facts.arc, facts.arc_sets.len()), (AuthResult::Pass, 10));
    assert_eq!(ours(&raw, state, "dmarc=pass"), None);
    let again = String::from_utf8(raw).unwrap().replacen("ARC-Seal: i=50", "ARC-Seal: i=51", 1);
    let one_more = format!("ARC-Seal: i=50; cv=pass; a=rsa-sha256; d=lists.example; s=r2048; b=AAAA\r\n{again}");
    assert_eq!(world.facts(one_more.as_bytes()).await.arc, AuthResult::Fail);
}
