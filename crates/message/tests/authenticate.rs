//! SPF, DKIM, DMARC and ARC against a real name server on loopback.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use dns::{Resolver, ResolverLimits, ZoneServer};
use message::Authenticator;
use message::compose::{Mailbox, Parts, compose};
use message::dkim::{DkimKey, Signer};
use model::{Address, AuthFacts, AuthResult, BodyType, ClientInfo, DmarcPolicy, Envelope, Timestamp};

const DEADLINE: Duration = Duration::from_secs(20);

// One key for all cases of this file: making one takes time, and none of them changes it.
static KEY: LazyLock<DkimKey> = LazyLock::new(|| DkimKey::generate().unwrap());

struct World {
    server: ZoneServer,
    authenticator: Authenticator,
}

async fn world() -> World {
    let zone = format!(
        "contoso.example TXT \"v=spf1 ip4:127.0.0.1 include:spf.fabrikam.example -all\"\n\
         spf.fabrikam.example TXT \"v=spf1 ip4:192.0.2.0/24 ~all\"\n\
         fabrikam.example TXT \"v=spf1 redirect=spf.fabrikam.example\"\n\
         _dmarc.contoso.example TXT \"v=DMARC1; p=reject; adkim=r\"\n\
         _dmarc.fabrikam.example TXT \"v=DMARC1; p=quarantine\"\n\
         s1._domainkey.contoso.example TXT \"{}\"\n\
         reports._domainkey.contoso.example TXT \"{}; s=tlsrpt\"\n\
         both._domainkey.contoso.example TXT \"{}; s=tlsrpt : email; h=sha1:sha256\"\n\
         old._domainkey.contoso.example TXT \"{}; h=sha1\"\n\
         mail.contoso.example TXT \"v=spf1 ip4:127.0.0.1 -all\"\n\
         broken.example TXT \"v=spf1 include: -all\"\n\
         _dmarc.tree.example TXT \"v=DMARC1; p=reject; sp=quarantine; np=none\"\n\
         there.tree.example A 127.0.0.1\n\
         _dmarc.own.tree.example TXT \"v=DMARC1; p=reject; psd=n\"\n\
         deep.below.own.tree.example A 127.0.0.1\n\
         _dmarc.test.example TXT \"v=DMARC1; p=reject; t=y\"\n\
         80.2.0.192.in-addr.arpa PTR mx1.fabrikam.example\n\
         81.2.0.192.in-addr.arpa PTR mx1.fabrikam.example\n\
         mx1.fabrikam.example A 192.0.2.80\n",
        KEY.txt_record(),
        KEY.txt_record(),
        KEY.txt_record(),
        KEY.txt_record()
    );
    let server = ZoneServer::start(&zone, SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let authenticator = Authenticator::new(&Resolver::at(server.addr()).unwrap(), "mx.contoso.example");
    World { server, authenticator }
}

fn envelope(reverse_path: &str, ip: &str, helo: &str) -> Envelope {
    Envelope {
        reverse_path: reverse_path.parse().unwrap(),
        forward_paths: vec![Address::parse("bob@contoso.example").unwrap()],
        body_type: BodyType::SevenBit,
        declared_size_bytes: None,
        options: Default::default(),
        rcpt_options: Vec::new(),
        client: ClientInfo {
            ip: ip.parse().unwrap(),
            helo: helo.into(),
            esmtp: true,
            tls: None,
            lmtp: false,
            login: None,
        },
    }
}

fn signed(from: &str, signer_domain: &str) -> Vec<u8> {
    let (from, to) = (Address::parse(from).unwrap(), Address::parse("bob@contoso.example").unwrap());
    let raw = compose(&Parts {
        from: Mailbox { name: "News", address: &from },
        to: Mailbox { name: "", address: &to },
        subject: "B\u{fc}cher",
        message_id: "<1@contoso.example>",
        date_at: Timestamp::from_micros(1_710_410_043_000_000),
        extra: &[
            ("List-Unsubscribe", "<https://t.contoso.example/u/1>"),
            ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
        ],
        text: "Hello.\nYours",
        html: "<p>Hello.</p>",
    })
    .unwrap();
    let mut out = Signer::new(&KEY, signer_domain, "s1").unwrap().sign(&raw).unwrap();
    out.extend_from_slice(&raw);
    out
}

fn replaced(raw: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(raw.to_vec()).unwrap();
    assert!(text.contains(from), "{from} in {text}");
    text.replacen(from, to, 1).into_bytes()
}

fn dkim(facts: &AuthFacts) -> Vec<AuthResult> {
    facts.dkim.iter().map(|d| d.result).collect()
}

#[tokio::test]
async fn what_we_sign_passes() {
    let world = world().await;
    let raw = signed("news@contoso.example", "contoso.example");
    let text = String::from_utf8_lossy(&raw).replace("\r\n\t", "");
    let names = text.split_once("h=").unwrap().1.split_once(';').unwrap().0.to_ascii_lowercase();
    let names: Vec<&str> = names.split(':').map(str::trim).collect();
    assert_eq!(names.iter().filter(|n| **n == "from").count(), 2, "From is signed once more than it occurs: {names:?}");
    for name in ["list-unsubscribe", "list-unsubscribe-post", "message-id", "to", "subject", "date"] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    let facts =
        world.authenticator.authenticate(&raw, &envelope("n+1@contoso.example", "127.0.0.1", "mail"), DEADLINE).await;
    assert_eq!((facts.spf, facts.spf_domain.as_str()), (AuthResult::Pass, "contoso.example"));
    assert_eq!(facts.dkim.len(), 1);
    assert_eq!(
        (facts.dkim[0].result, facts.dkim[0].domain.as_str(), facts.dkim[0].selector.as_str()),
        (AuthResult::Pass, "contoso.example", "s1")
    );
    assert_eq!(
        (facts.dmarc, facts.dmarc_policy, facts.dmarc_domain.as_str()),
        (AuthResult::Pass, DmarcPolicy::Reject, "contoso.example")
    );
    assert_eq!(facts.arc, AuthResult::None);
}

#[tokio::test]
async fn tampering_fails() {
    let world = world().await;
    let raw = signed("news@contoso.example", "contoso.example");
    let outside = envelope("news@contoso.example", "203.0.113.9", "mail.example");
    for (name, tampered) in [
        ("body", replaced(&raw, "Hello.", "Hullo.")),
        ("subject", replaced(&raw, "Subject: ", "Subject: x")),
        ("unsubscribe link", replaced(&raw, "/u/1>", "/u/2>")),
        ("a second From", replaced(&raw, "From: ", "From: eve@evil.example\r\nFrom: ")),
        ("an added Reply-To", replaced(&raw, "Subject: ", "Reply-To: eve@evil.example\r\nSubject: ")),
        ("other selector", replaced(&raw, "s=s1", "s=s2")),
    ] {
        let facts = world.authenticator.authenticate(&tampered, &outside, DEADLINE).await;
        assert!(!dkim(&facts).contains(&AuthResult::Pass) && facts.dkim.len() == 1, "{name}: {facts:?}");
        assert_eq!(facts.spf, AuthResult::Fail, "{name}");
        assert_ne!(facts.dmarc, AuthResult::Pass, "{name}");
    }
    let facts = world.authenticator.authenticate(&replaced(&raw, "Hello.", "Hullo."), &outside, DEADLINE).await;
    assert_eq!((dkim(&facts), facts.dmarc), (vec![AuthResult::Fail], AuthResult::Fail));
}

#[tokio::test]
async fn spf_by_identity() {
    let world = world().await;
    let raw = b"From: a@nodmarc.example\r\n\r\nx\r\n";
    let check = async |reverse_path: &str, ip: &str, helo: &str, result: AuthResult, domain: &str| {
        let facts = world.authenticator.authenticate(raw, &envelope(reverse_path, ip, helo), DEADLINE).await;
        assert_eq!((facts.spf, facts.spf_domain.as_str()), (result, domain), "{reverse_path} {ip} {helo}");
        assert_eq!((facts.dmarc, dkim(&facts)), (AuthResult::None, vec![]), "{reverse_path}");
    };
    check("a@contoso.example", "127.0.0.1", "h", AuthResult::Pass, "contoso.example").await;
    check("a@contoso.example", "192.0.2.9", "h", AuthResult::Pass, "contoso.example").await;
    check("a@contoso.example", "198.51.100.9", "h", AuthResult::Fail, "contoso.example").await;
    check("a@fabrikam.example", "198.51.100.9", "h", AuthResult::SoftFail, "fabrikam.example").await;
    check("a@norecord.example", "127.0.0.1", "h", AuthResult::None, "norecord.example").await;
    check("a@broken.example", "127.0.0.1", "h", AuthResult::PermError, "broken.example").await;
    check("", "127.0.0.1", "mail.contoso.example", AuthResult::Pass, "mail.contoso.example").await;
    check("", "198.51.100.9", "mail.contoso.example", AuthResult::Fail, "mail.contoso.example").await;
    check("", "127.0.0.1", "[127.0.0.1]", AuthResult::None, "127.0.0.1").await;
}

/// RFC 7208 2.3: the name that a host gives itself is checked too, and says nothing about the reverse-path.
#[tokio::test]
async fn spf_of_the_host_s_own_name() {
    let world = world().await;
    let raw = b"From: a@fabrikam.example\r\n\r\nx\r\n";
    let check = async |reverse_path: &str, ip: &str, helo: &str, of_helo: AuthResult, spf: AuthResult| {
        let facts = world.authenticator.authenticate(raw, &envelope(reverse_path, ip, helo), DEADLINE).await;
        assert_eq!((facts.spf_helo, facts.spf), (of_helo, spf), "{reverse_path} {ip} {helo}");
        facts
    };
    use AuthResult::{Fail, None, Pass, SoftFail};
    check("a@fabrikam.example", "192.0.2.9", "mail.contoso.example", Fail, Pass).await;
    let facts = check("a@fabrikam.example", "127.0.0.1", "mail.contoso.example", Pass, SoftFail).await;
    assert_eq!(facts.dmarc, Fail, "DMARC rests on the reverse-path");
    check("a@fabrikam.example", "192.0.2.9", "localhost", None, Pass).await;
    check("a@fabrikam.example", "192.0.2.9", "[192.0.2.9]", None, Pass).await;
    check("", "127.0.0.1", "mail.contoso.example", Pass, Pass).await;
    check("", "198.51.100.9", "mail.contoso.example", Fail, Fail).await;
}

/// RFC 6376 3.6.1 and 6.1.1: keys that are not for mail, and signatures that leave From to anybody.
#[tokio::test]
async fn keys_and_signatures_for_something_else_do_not_count() {
    let world = world().await;
    let raw = signed("news@contoso.example", "contoso.example");
    let unsigned = {
        let text = String::from_utf8(raw.clone()).unwrap();
        text.as_bytes()[text.find("\r\nFrom: ").unwrap() + 2..].to_vec()
    };
    let outside = envelope("a@norecord.example", "203.0.113.9", "h");
    let check = async |field: Vec<u8>, result: AuthResult, reason: &str| {
        let raw = [field, unsigned.clone()].concat();
        let facts = world.authenticator.authenticate(&raw, &outside, DEADLINE).await;
        let found: Vec<_> = facts.dkim.iter().map(|dkim| (dkim.result, dkim.reason.as_str())).collect();
        assert_eq!(found, [(result, reason)], "{}", String::from_utf8_lossy(&raw));
        assert_eq!(facts.dmarc == AuthResult::Pass, result == AuthResult::Pass);
    };
    let by = |selector: &str| Signer::new(&KEY, "contoso.example", selector).unwrap().sign(&unsigned).unwrap();
    let not_for_mail = "key is not for mail, or not for this algorithm";
    check(by("s1"), AuthResult::Pass, "").await;
    check(by("both"), AuthResult::Pass, "").await;
    check(by("reports"), AuthResult::PermError, not_for_mail).await;
    check(by("old"), AuthResult::PermError, not_for_mail).await;
    let key = mail_auth::common::crypto::RsaKey::<mail_auth::common::crypto::Sha256>::from_key_der(
        rustls_pki_types::PrivateKeyDer::Pkcs1(der(&KEY.to_pem()).into()),
    );
    let careless = mail_auth::dkim::DkimSigner::from_key(key.unwrap())
        .domain("contoso.example")
        .selector("s1")
        .headers(["Subject", "To"])
        .sign(&unsigned)
        .unwrap();
    let careless = mail_auth::common::headers::HeaderWriter::to_header(&careless).into_bytes();
    check(careless, AuthResult::PermError, "From is not signed").await;
}

fn der(pem: &str) -> Vec<u8> {
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    data_encoding::BASE64.decode(body.as_bytes()).unwrap()
}

/// A seal covers the From that stood there: one that is put in front of it later is not vouched for.
#[tokio::test]
async fn a_seal_vouches_for_the_from_it_saw() {
    let world = world().await;
    let raw = b"From: eve@fabrikam.example\r\nTo: bob@contoso.example\r\nSubject: x\r\n\r\nHello\r\n";
    let seal = |results: &str| {
        let sealer = message::arc::ArcSealer::new(&KEY, "contoso.example", "s1").unwrap();
        let at = Timestamp::from_micros(1_710_410_043_000_000);
        let sealing = message::arc::Sealing { authserv_id: "mx.contoso.example", results, chain: AuthResult::None, at };
        [sealer.seal(raw, &sealing).unwrap().unwrap().into_bytes(), raw.to_vec()].concat()
    };
    let check = async |raw: &[u8], dmarc: AuthResult, why: &str| {
        let envelope = envelope("list@norecord.example", "203.0.113.9", "h");
        let facts = world.authenticator.authenticate(raw, &envelope, DEADLINE).await;
        let said: Vec<AuthResult> = facts.arc_sets.iter().map(|set| set.dmarc).collect();
        assert_eq!((facts.arc, said), (AuthResult::Pass, vec![dmarc]), "{why}");
    };
    let sealed = seal("spf=pass smtp.mailfrom=eve@fabrikam.example;\r\n\tdmarc=pass header.from=fabrikam.example");
    check(&sealed, AuthResult::Pass, "as it was sealed").await;
    let added = [b"From: boss@contoso.example\r\n".as_slice(), &sealed].concat();
    check(&added, AuthResult::None, "a second From in front").await;
    let other = seal("dmarc=pass header.from=evil.example");
    check(&other, AuthResult::None, "another domain was checked").await;
}

#[tokio::test]
async fn dmarc_needs_alignment() {
    let world = world().await;
    let check = async |raw: &[u8], reverse_path: &str, ip: &str, result: AuthResult, policy: DmarcPolicy| {
        let facts = world.authenticator.authenticate(raw, &envelope(reverse_path, ip, "h"), DEADLINE).await;
        assert_eq!((facts.dmarc, facts.dmarc_policy), (result, policy), "{facts:?}");
    };
    let by_fabrikam = b"From: x@fabrikam.example\r\n\r\n.";
    check(by_fabrikam, "a@fabrikam.example", "192.0.2.1", AuthResult::Pass, DmarcPolicy::Quarantine).await;
    check(by_fabrikam, "a@contoso.example", "127.0.0.1", AuthResult::Fail, DmarcPolicy::Quarantine).await;
    // A subdomain of the From domain is aligned under relaxed alignment, a passing stranger is not.
    check(
        b"From: x@contoso.example\r\n\r\n.",
        "b@mail.contoso.example",
        "127.0.0.1",
        AuthResult::Pass,
        DmarcPolicy::Reject,
    )
    .await;
    check(
        &signed("x@fabrikam.example", "contoso.example"),
        "",
        "203.0.113.9",
        AuthResult::Fail,
        DmarcPolicy::Quarantine,
    )
    .await;
    check(b"From: x@nodmarc.example\r\n\r\n.", "a@contoso.example", "127.0.0.1", AuthResult::None, DmarcPolicy::None)
        .await;
    check(b"Subject: no From\r\n\r\n.", "a@contoso.example", "127.0.0.1", AuthResult::None, DmarcPolicy::None).await;
}

#[tokio::test]
async fn every_from_is_asked_about() {
    let world = world().await;
    let own = envelope("a@contoso.example", "127.0.0.1", "h");
    let check = async |raw: &str, result: AuthResult, policy: DmarcPolicy, domain: &str| {
        let facts = world.authenticator.authenticate(raw.as_bytes(), &own, DEADLINE).await;
        assert_eq!((facts.dmarc, facts.dmarc_policy, facts.dmarc_domain.as_str()), (result, policy, domain), "{raw}");
    };
    use DmarcPolicy::{None, Quarantine, Reject};
    check("From: a@contoso.example\r\n\r\n.", AuthResult::Pass, Reject, "contoso.example").await;
    let second = "From: a@contoso.example\r\nFrom: boss@fabrikam.example\r\n\r\n.";
    check(second, AuthResult::Fail, Quarantine, "fabrikam.example").await;
    check("From: a@contoso.example, boss@fabrikam.example\r\n\r\n.", AuthResult::Fail, Quarantine, "fabrikam.example")
        .await;
    let behind = "From: a@contoso.example\r\nno field\r\nFrom: boss@fabrikam.example\r\n\r\n.";
    check(behind, AuthResult::Fail, Quarantine, "fabrikam.example").await;
    let group = "From: all: a@contoso.example, boss@fabrikam.example;\r\n\r\n.";
    check(group, AuthResult::Fail, Quarantine, "fabrikam.example").await;
    let unknown = "From: a@contoso.example, x@nodmarc.example\r\n\r\n.";
    check(unknown, AuthResult::None, None, "nodmarc.example").await;
    let many: Vec<String> = (0..40).map(|n| format!("x{n}@contoso{n}.example")).collect();
    let many = format!("From: {}\r\n\r\n.", many.join(", "));
    let facts = world.authenticator.authenticate(many.as_bytes(), &own, DEADLINE).await;
    assert_eq!(facts.dmarc, AuthResult::Fail, "nobody is from forty places");
}

#[tokio::test]
async fn policies_of_a_tree() {
    let world = world().await;
    let check = async |from: &str, policy: DmarcPolicy| {
        let raw = format!("From: x@{from}\r\n\r\n.");
        let envelope = envelope("a@norecord.example", "203.0.113.9", "h");
        let facts = world.authenticator.authenticate(raw.as_bytes(), &envelope, DEADLINE).await;
        assert_eq!((facts.dmarc, facts.dmarc_policy), (AuthResult::Fail, policy), "{from}");
    };
    check("tree.example", DmarcPolicy::Reject).await;
    check("there.tree.example", DmarcPolicy::Quarantine).await; // sp
    check("missing.tree.example", DmarcPolicy::None).await; // np
    check("own.tree.example", DmarcPolicy::Reject).await; // a record of its own
    check("deep.below.own.tree.example", DmarcPolicy::Reject).await;
    check("test.example", DmarcPolicy::Quarantine).await; // t=y: one step less
}

#[tokio::test]
async fn a_client_has_the_name_that_leads_back() {
    let world = world().await;
    let name = async |ip: &str| {
        let envelope = envelope("a@norecord.example", ip, "h");
        world.authenticator.authenticate(b"From: x@nodmarc.example\r\n\r\n.", &envelope, DEADLINE).await.client_name
    };
    assert_eq!(name("192.0.2.80").await, "mx1.fabrikam.example");
    assert_eq!(name("::ffff:192.0.2.80").await, "mx1.fabrikam.example");
    assert_eq!(name("192.0.2.81").await, "", "a name that leads elsewhere is a claim");
    assert_eq!(name("192.0.2.82").await, "");
}

#[tokio::test]
async fn without_names_nothing_fails() {
    let raw = signed("news@contoso.example", "contoso.example");
    let envelope = envelope("news@contoso.example", "203.0.113.9", "h");
    let none = Authenticator::new(&Resolver::none(), "mx").authenticate(&raw, &envelope, DEADLINE).await;
    assert_eq!(none, AuthFacts::default());

    // A server that is gone: trouble, never failure.
    let gone = world().await.server.addr();
    let limits = ResolverLimits { try_ms: 50, tries_max: 1, ..ResolverLimits::default() };
    let authenticator = Authenticator::new(&Resolver::at_with(gone, limits).unwrap(), "mx");
    let facts = authenticator.authenticate(&raw, &envelope, DEADLINE).await;
    assert_eq!(
        (facts.spf, dkim(&facts), facts.dmarc),
        (AuthResult::TempError, vec![AuthResult::TempError], AuthResult::TempError)
    );

    // A server that never answers: the caller's deadline holds.
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let authenticator = Authenticator::new(&Resolver::at(silent.local_addr().unwrap()).unwrap(), "mx");
    let facts = authenticator.authenticate(&raw, &envelope, Duration::from_millis(100)).await;
    assert_eq!((facts.spf, facts.dmarc), (AuthResult::TempError, AuthResult::TempError));
    assert_eq!(dkim(&facts), [AuthResult::TempError], "a signature that nobody could check is not the same as none");
    assert_eq!(facts.arc, AuthResult::None, "there is no chain, whoever answers");
}

#[tokio::test]
async fn a_campaign_looks_its_names_up_once() {
    let world = world().await;
    let raw = signed("news@contoso.example", "contoso.example");
    let envelope = envelope("n@contoso.example", "127.0.0.1", "h");
    for _ in 0..100 {
        let facts = world.authenticator.clone().authenticate(&raw, &envelope, DEADLINE).await;
        assert_eq!(facts.dmarc, AuthResult::Pass);
    }
    assert!(world.server.query_count() <= 8, "{} questions", world.server.query_count());
}

#[tokio::test]
async fn many_signatures_are_capped() {
    let world = world().await;
    let raw = signed("news@contoso.example", "contoso.example");
    let field = Signer::new(&KEY, "contoso.example", "s1").unwrap().sign(&raw).unwrap();
    let many = [field.repeat(50), raw].concat();
    let facts = world.authenticator.authenticate(&many, &envelope("", "127.0.0.1", "h"), DEADLINE).await;
    assert_eq!(facts.dkim.len(), message::DKIM_SIGNATURES_MAX);
}

#[tokio::test]
async fn hostile_mail_only_gets_results() {
    let world = world().await;
    let raw = signed("news@contoso.example", "contoso.example");
    let traps: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"\0".to_vec(),
        b"DKIM-Signature:".repeat(20_000),
        b"DKIM-Signature: v=1; a=rsa-sha256; d=contoso.example; s=s1; h=from; bh=; b=\r\n".repeat(5_000),
        [
            b"DKIM-Signature: v=1; a=rsa-sha256; c=simple/simple; d=contoso.example; s=s1; h=".as_slice(),
            &b"from:".repeat(50_000),
        ]
        .concat(),
        [b"From: ".as_slice(), &b"(".repeat(300_000)].concat(),
        [b"From: ".as_slice(), &b"a@b.example,".repeat(50_000)].concat(),
        [b"ARC-Seal: i=1; cv=none\r\n".repeat(5_000), raw.clone()].concat(),
        [b"Authentication-Results: x\r\nno field\r\n".as_slice(), &raw].concat(),
        raw.iter().rev().copied().collect(),
        raw[..raw.len() / 2].to_vec(),
    ];
    for (index, trap) in traps.iter().enumerate() {
        let facts = world.authenticator.authenticate(trap, &envelope("", "127.0.0.1", "h"), DEADLINE).await;
        assert!(facts.dkim.len() <= 2 * message::DKIM_SIGNATURES_MAX, "trap {index}");
        assert!([7, 8].contains(&index) || facts.dmarc != AuthResult::Pass, "trap {index}: {facts:?}");
    }
}

#[tokio::test]
async fn servers_that_misbehave_cost_results_and_nothing_else() {
    let zone = "$SERVFAIL fails.example\n$SILENT silent.example\n$TRUNCATED cut.example\n$LIES lies.example\n\
                $SERVFAIL _dmarc.fails.example\n$SERVFAIL s1._domainkey.fails.example\n\
                one.example TXT \"v=spf1 a:fails.example -all\"\n\
                void.example TXT \"v=spf1 a:n1.example a:n2.example a:n3.example -all\"\n";
    let server = ZoneServer::start(zone, SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let limits = ResolverLimits { try_ms: 200, tries_max: 1, deadline_ms: 500, ..ResolverLimits::default() };
    let authenticator = Authenticator::new(&Resolver::at_with(server.addr(), limits).unwrap(), "mx");
    let check = async |domain: &str, result: AuthResult| {
        let raw = format!("From: x@{domain}\r\n\r\n.");
        let envelope = envelope(&format!("x@{domain}"), "192.0.2.1", "h");
        let facts = authenticator.authenticate(raw.as_bytes(), &envelope, DEADLINE).await;
        assert_eq!(facts.spf, result, "{domain}");
    };
    check("fails.example", AuthResult::TempError).await;
    check("silent.example", AuthResult::TempError).await;
    check("cut.example", AuthResult::TempError).await;
    check("lies.example", AuthResult::None).await;
    check("one.example", AuthResult::TempError).await;
    check("void.example", AuthResult::PermError).await;
    let signed = signed("news@fails.example", "fails.example");
    let facts = authenticator.authenticate(&signed, &envelope("n@fails.example", "127.0.0.1", "h"), DEADLINE).await;
    assert_eq!((dkim(&facts), facts.dmarc), (vec![AuthResult::TempError], AuthResult::TempError));
}
