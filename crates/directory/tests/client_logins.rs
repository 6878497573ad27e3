//! Logins of mail programs on both databases.

use std::net::{IpAddr, Ipv4Addr};

use data_encoding::BASE64;
use directory::{
    ClientLogin, ClientScope, Directory, DirectoryError, NewAccount, NewOrganisation, NewPerson, SaslMechanism,
    SaslStep,
};
use model::{AccountId, Address, AppPasswordId, Domain, Role};
use sha2::{Digest, Sha256};
use store::values;
use testkit::scram::{hmac, salted};
use testkit::{TestStore, on_both};

const HERE: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
const OWN_PASSWORD: &str = "correct horse battery";

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

/// Ada with an account (login `ada`, a password) and an alias; Bob with an account and nothing to prove.
async fn contoso(t: &TestStore) -> (Directory, AccountId) {
    let domains = vec![Domain::parse("contoso.example").unwrap()];
    let directory = Directory::create(&t.store, NewOrganisation { name: "Contoso".into(), domains }).await.unwrap();
    let person = |name: &str| NewPerson {
        address: address(&format!("{name}@contoso.example")),
        name: name.into(),
        department: String::new(),
        city: String::new(),
        language: String::new(),
        attributes: Default::default(),
    };
    directory.put_people(&[person("ada"), person("bob")]).await.unwrap();
    let person_id = directory.person_by_address("ada@contoso.example").await.unwrap().map(|p| p.id);
    directory.put_alias(&address("a.byron@contoso.example"), person_id.unwrap()).await.unwrap();
    let ada = NewAccount {
        login: "ada".into(),
        name: "Ada".into(),
        role: Role::Recipient,
        person_id,
        password: Some(OWN_PASSWORD.into()),
    };
    let ada = directory.create_account(ada).await.unwrap();
    directory.create_recipient_accounts().await.unwrap();
    (directory, ada.id)
}

async fn login(directory: &Directory, login: &str, password: &str) -> Option<ClientLogin> {
    directory.client_login(login, password, ClientScope::Imap, HERE).await.unwrap()
}

#[tokio::test]
async fn app_passwords_open_what_they_are_for_until_revoked() {
    on_both(|t| async move {
        let (directory, ada) = contoso(&t).await;
        let (phone, secret) =
            directory.create_app_password(ada, " Phone ", &[ClientScope::Imap], Some(ada)).await.unwrap();
        let (_, other) = directory.create_app_password(ada, "Desk", ClientScope::ALL, Some(ada)).await.unwrap();
        for name in ["ada", "ADA ", "ada@contoso.example", "A.Byron@Contoso.Example", "ada+x@contoso.example"] {
            let found = login(&directory, name, &secret).await.unwrap_or_else(|| panic!("{name} is ada"));
            assert_eq!((found.address.as_str(), found.app_password_id), ("ada@contoso.example", Some(phone.id)));
        }
        assert!(login(&directory, "ada", &secret.replace('-', " ").to_uppercase()).await.is_some());
        assert!(login(&directory, "ada", &other).await.is_some(), "each of them");
        assert_eq!(login(&directory, "ada", OWN_PASSWORD).await.map(|l| l.app_password_id), Some(None));
        let submit = directory.client_login("ada", &secret, ClientScope::Submission, HERE).await.unwrap();
        assert_eq!(submit, None, "the phone only reads");
        for (name, wrong) in [("bob@contoso.example", secret.as_str()), ("ada", "x"), ("nobody", "x"), ("", "")] {
            assert_eq!(login(&directory, name, wrong).await, None, "{name} {wrong}");
        }
        let listed = directory.app_passwords(ada).await.unwrap();
        assert_eq!(listed.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["Desk", "Phone"]);
        assert!(listed.iter().all(|p| p.last_used_at.is_some()), "use is noted");
        directory.revoke_app_password(ada, phone.id, Some(ada)).await.unwrap();
        assert_eq!(login(&directory, "ada", &secret).await, None);
        assert!(matches!(
            directory.revoke_app_password(ada, phone.id, Some(ada)).await,
            Err(DirectoryError::NotFound(_))
        ));
        let actions: Vec<_> = directory.audit_page(None, 10).await.unwrap().into_iter().map(|a| a.action).collect();
        assert_eq!(actions, ["app_password.revoke", "app_password.create", "app_password.create"]);
    })
    .await;
}

/// Section C, row 49: a login is data, whatever it holds.
#[tokio::test]
async fn hostile_logins_are_nobodys() {
    on_both(|t| async move {
        let (directory, ada) = contoso(&t).await;
        directory.create_app_password(ada, "Phone", ClientScope::ALL, None).await.unwrap();
        for hostile in [
            "' OR '1'='1",
            "ada'--",
            "ada\"; DROP TABLE account; --",
            "*)(uid=*))(|(uid=*",
            "%",
            "a%",
            "_da",
            "ada\0",
            "ada\r\nEHLO x",
            "\u{202e}ada",
            &"a".repeat(100_000),
        ] {
            for password in ["' OR ''='", "\0", "%"] {
                assert_eq!(login(&directory, hostile, password).await, None, "{hostile:?}");
            }
            let mut sasl = directory.sasl(SaslMechanism::ScramSha256, ClientScope::Imap, HERE);
            sasl.step(Some(format!("n,,n={},r=abc", hostile.replace(['=', ','], "")).as_bytes())).await.unwrap();
        }
        assert!(login(&directory, "ada", OWN_PASSWORD).await.is_some(), "nothing was harmed");
    })
    .await;
}

#[tokio::test]
async fn guessing_waits_and_is_audited_once() {
    on_both(|t| async move {
        let (directory, _) = contoso(&t).await;
        for _ in 0..5 {
            assert_eq!(login(&directory, "ada", "wrong password").await, None);
        }
        let too_soon = directory.client_login("ADA", OWN_PASSWORD, ClientScope::Imap, HERE).await;
        assert!(matches!(too_soon, Err(DirectoryError::Throttled { wait_ms: 1.. })), "{too_soon:?}");
        let mut sasl = directory.sasl(SaslMechanism::Plain, ClientScope::Submission, HERE);
        let sasl = sasl.step(Some(format!("\0ada\0{OWN_PASSWORD}").as_bytes())).await;
        assert!(matches!(sasl, Err(DirectoryError::Throttled { .. })), "one throttle for every door");
        let elsewhere = Some(IpAddr::from([192, 0, 2, 9]));
        assert!(directory.client_login("ada", OWN_PASSWORD, ClientScope::Imap, elsewhere).await.unwrap().is_some());
        let audited = directory.audit_page(None, 10).await.unwrap();
        assert_eq!(
            audited.iter().map(|a| (a.action.as_str(), a.target.as_str())).collect::<Vec<_>>(),
            [("client_login.wrong", "login ada")]
        );
    })
    .await;
}

/// A client of RFC 5802, written from its section 3. Gives whether both sides were convinced.
async fn scram(directory: &Directory, name: &str, password: &str) -> Result<ClientLogin, SaslStep> {
    let mut sasl = directory.sasl(SaslMechanism::ScramSha256, ClientScope::Imap, HERE);
    let bare = format!("n={name},r=clientnonce");
    let SaslStep::Challenge(first) = sasl.step(Some(format!("n,,{bare}").as_bytes())).await.unwrap() else { panic!() };
    let first = String::from_utf8(first).unwrap();
    let parts: Vec<&str> = first.split(',').map(|part| &part[2..]).collect();
    assert!(parts[0].starts_with("clientnonce") && parts[0].len() > 30, "{first}");
    let (salt, iterations) = (BASE64.decode(parts[1].as_bytes()).unwrap(), parts[2].parse::<u32>().unwrap());
    let salted = salted(password, &salt, iterations);
    let client_key = hmac(&salted, b"Client Key");
    let without_proof = format!("c=biws,r={}", parts[0]);
    let auth_message = format!("{bare},{first},{without_proof}");
    let signature = hmac(&Sha256::digest(client_key), auth_message.as_bytes());
    let proof: Vec<u8> = client_key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
    let last = format!("{without_proof},p={}", BASE64.encode(&proof));
    match sasl.step(Some(last.as_bytes())).await.unwrap() {
        SaslStep::Challenge(last) => {
            let expected = BASE64.encode(&hmac(&hmac(&salted, b"Server Key"), auth_message.as_bytes()));
            assert_eq!(String::from_utf8(last).unwrap(), format!("v={expected}"));
        }
        other => return Err(other),
    }
    match sasl.step(Some(b"")).await.unwrap() {
        SaslStep::Done(login) => Ok(login),
        other => Err(other),
    }
}

#[tokio::test]
async fn scram_proves_app_passwords_to_both_sides() {
    on_both(|t| async move {
        let (directory, ada) = contoso(&t).await;
        let unknown = directory.scram_verifier("nobody", ClientScope::Imap).await.unwrap();
        let before = directory.scram_verifier("ada", ClientScope::Imap).await.unwrap();
        let (_, one) = directory.create_app_password(ada, "One", ClientScope::ALL, None).await.unwrap();
        let (_, two) = directory.create_app_password(ada, "Two", ClientScope::ALL, None).await.unwrap();
        for secret in [&one, &two] {
            assert_eq!(scram(&directory, "ada", secret).await.unwrap().account_id, ada);
            assert_eq!(scram(&directory, "ada@contoso.example", secret).await.unwrap().account_id, ada);
        }
        for (name, wrong) in [("ada", "x"), ("nobody", one.as_str()), ("bob@contoso.example", &one)] {
            assert_eq!(scram(&directory, name, wrong).await, Err(SaslStep::Wrong), "{name}");
        }
        // What is shown before the proof does not tell who exists.
        let after = directory.scram_verifier("ada", ClientScope::Imap).await.unwrap();
        let again = directory.scram_verifier("nobody", ClientScope::Imap).await.unwrap();
        assert_eq!((before.salt, before.iterations), (after.salt, after.iterations));
        assert_eq!((unknown.salt, unknown.iterations), (again.salt, again.iterations));
        // Nor do two spellings of one address.
        let salt = async |login: &str| directory.scram_verifier(login, ClientScope::Imap).await.unwrap().salt;
        for (one, other) in [
            ("a.byron@contoso.example", "A.Byron+lists@contoso.example "),
            ("nobody@contoso.example", "Nobody+lists@contoso.example "),
        ] {
            assert_eq!(salt(one).await, salt(other).await, "{one}");
        }
    })
    .await;
}

/// A program that prefers SCRAM gets in with the account's own password: from the day it is set, and as long as it is that.
#[tokio::test]
async fn scram_proves_the_own_password_while_it_is_that() {
    on_both(|t| async move {
        let (directory, ada) = contoso(&t).await;
        let login = scram(&directory, "ada", OWN_PASSWORD).await.unwrap();
        assert_eq!((login.account_id, login.app_password_id), (ada, None));
        let (made, secret) = directory.create_app_password(ada, "Desk", ClientScope::ALL, None).await.unwrap();
        assert_eq!(scram(&directory, "ada", &secret).await.unwrap().app_password_id, Some(made.id));
        assert_eq!(scram(&directory, "a.byron@contoso.example", OWN_PASSWORD).await.unwrap().account_id, ada);
        assert_eq!(scram(&directory, "ada", "correct horse").await, Err(SaslStep::Wrong));

        const NEXT: &str = "a better battery, \u{2168}"; // SASLprep makes IX of the last sign
        directory.change_password(ada, OWN_PASSWORD, NEXT).await.unwrap();
        assert_eq!(scram(&directory, "ada", OWN_PASSWORD).await, Err(SaslStep::Wrong), "it is another now");
        assert_eq!(scram(&directory, "ada", "a better battery, IX").await.unwrap().account_id, ada);
        assert_eq!(scram(&directory, "ada", &secret).await.unwrap().account_id, ada);
    })
    .await;
}

/// An account from before: its keys are made the first time its password is seen, wherever that is.
#[tokio::test]
async fn the_keys_of_an_own_password_are_made_when_it_is_seen() {
    on_both(|t| async move {
        let (directory, ada) = contoso(&t).await;
        // Keys of another password are none.
        let row = values![ada, "another hash", "", 1_i64, "", ""];
        t.store.execute("app_password.keep_own", &row).await.unwrap();
        assert_eq!(scram(&directory, "ada", OWN_PASSWORD).await, Err(SaslStep::Wrong));
        assert_eq!(login(&directory, "ada", "correct horse batterx").await, None);
        assert_eq!(scram(&directory, "ada", OWN_PASSWORD).await, Err(SaslStep::Wrong), "a wrong one makes none");
        assert!(login(&directory, "ada", OWN_PASSWORD).await.is_some());
        assert_eq!(scram(&directory, "ada", OWN_PASSWORD).await.unwrap().account_id, ada);
        t.store.execute("app_password.keep_own", &row).await.unwrap();
        directory.sign_in("ada", OWN_PASSWORD).await.unwrap();
        assert_eq!(scram(&directory, "ada", OWN_PASSWORD).await.unwrap().account_id, ada);
    })
    .await;
}

/// App passwords from before there were MACs of them, and with fewer iterations, open what they opened.
#[tokio::test]
async fn app_passwords_from_before_still_work() {
    const ITERATIONS: u32 = 4_096;
    on_both(|t| async move {
        let (directory, ada) = contoso(&t).await;
        let salt = directory.scram_verifier("ada", ClientScope::Imap).await.unwrap().salt;
        let secret = "aaaa-bbbb-cccc-dddd-eeee";
        let salted = salted(secret, &salt, ITERATIONS);
        let stored = BASE64.encode(&Sha256::digest(hmac(&salted, b"Client Key")));
        let server = BASE64.encode(&hmac(&salted, b"Server Key"));
        let id: AppPasswordId = t.store.next_id();
        let (salt, iterations) = (BASE64.encode(&salt), i64::from(ITERATIONS));
        let now = t.store.now();
        let row = values![id, directory.id(), ada, "Old", "imap,submission", salt, iterations, stored, server, now, ""];
        t.store.execute("app_password.insert", &row).await.unwrap();
        assert_eq!(login(&directory, "ada", secret).await.unwrap().app_password_id, Some(id), "typed");
        assert_eq!(scram(&directory, "ada", secret).await.unwrap().app_password_id, Some(id), "proved");
        assert!(login(&directory, "ada", OWN_PASSWORD).await.is_some(), "the own password is typed");
        directory.revoke_app_password(ada, id, None).await.unwrap();
        assert_eq!(login(&directory, "ada", secret).await, None);
        assert_eq!(scram(&directory, "ada", OWN_PASSWORD).await.unwrap().account_id, ada, "and proved once it may be");
    })
    .await;
}

#[tokio::test]
async fn sasl_exchanges() {
    on_both(|t| async move {
        let (directory, ada) = contoso(&t).await;
        let begin = |mechanism| directory.sasl(mechanism, ClientScope::Submission, HERE);
        let is_ada = |step: SaslStep| matches!(step, SaslStep::Done(login) if login.account_id == ada);
        let mut plain = begin(SaslMechanism::Plain);
        assert_eq!(plain.step(None).await.unwrap(), SaslStep::Challenge(vec![]));
        assert!(is_ada(plain.step(Some(format!("ada\0ada\0{OWN_PASSWORD}").as_bytes())).await.unwrap()));
        assert_eq!(plain.step(Some(b"")).await.unwrap(), SaslStep::Malformed, "it is over");
        let mut name = begin(SaslMechanism::Login);
        assert_eq!(name.step(None).await.unwrap(), SaslStep::Challenge(b"Username:".to_vec()));
        assert_eq!(name.step(Some(b"ada")).await.unwrap(), SaslStep::Challenge(b"Password:".to_vec()));
        assert!(is_ada(name.step(Some(OWN_PASSWORD.as_bytes())).await.unwrap()));
        for malformed in
            [&b""[..], b"ada", b"\0ada", b"\0ada\0", b"\0\0x", b"a\0b\0c\0d", b"\0ada\0\xff", &[b'a'; 5_000]]
        {
            assert_eq!(begin(SaslMechanism::Plain).step(Some(malformed)).await.unwrap(), SaslStep::Malformed);
        }
        let other = format!("bob\0ada\0{OWN_PASSWORD}");
        assert_eq!(begin(SaslMechanism::Plain).step(Some(other.as_bytes())).await.unwrap(), SaslStep::Wrong);
    })
    .await;
}
