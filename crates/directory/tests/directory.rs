//! The directory on both databases.

use directory::{Directory, DirectoryError, NewAccount, NewOrganisation, PeopleFilter, ProtectionCache, Settings};
use model::{Address, Domain, Role};
use testkit::{TestStore, on_both};

async fn contoso(t: &TestStore) -> Directory {
    let domains = vec![Domain::parse("contoso.example").unwrap()];
    Directory::create(&t.store, NewOrganisation { name: "Contoso".into(), domains }).await.unwrap()
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

const PEOPLE: &[u8] = b"address,name,department,city,language,badge\n\
    ada@contoso.example,Ada Byron,Sales,Leeds,en,1\nbob@contoso.example,Bob Ray,IT,Lyon,fr,2\n";

#[tokio::test]
async fn an_import_makes_people_mailboxes_and_a_list() {
    on_both(|t| async move {
        let directory = contoso(&t).await;
        assert_eq!(directory.recipient(&address("ada@contoso.example")).await.unwrap(), None);
        let report = directory.import_people(PEOPLE, Some("Everyone"), false).await.unwrap();
        assert_eq!((report.created_count, report.updated_count, report.applied), (2, 0, true));
        let ada = directory.recipient(&address("Ada+news@Contoso.example")).await.unwrap().expect("ada receives");
        assert_eq!((ada.address.as_str(), ada.department.as_str()), ("ada@contoso.example", "Sales"));
        let again =
            directory.import_people(&PEOPLE.replace_text("Leeds", "York"), Some("Everyone"), false).await.unwrap();
        assert_eq!((again.created_count, again.updated_count), (0, 2));
        assert_eq!(directory.person_by_address("ADA@contoso.example").await.unwrap().unwrap().city, "York");
        let lists = directory.lists().await.unwrap();
        assert_eq!(lists.iter().map(|l| (l.name.as_str(), l.member_count)).collect::<Vec<_>>(), [("Everyone", 2)]);
        let found = directory
            .people(&PeopleFilter { starts_with: "bob".into(), limit: 10, ..PeopleFilter::default() })
            .await
            .unwrap();
        assert_eq!(found.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["Bob Ray"]);
        directory.put_alias(&address("postmaster@contoso.example"), ada.person_id).await.unwrap();
        let postmaster = directory.recipient(&address("postmaster@contoso.example")).await.unwrap();
        assert_eq!(postmaster.map(|r| r.person_id), Some(ada.person_id));
    })
    .await;
}

/// Two processes on one database: what one changes the other learns, though nobody tells it.
#[tokio::test]
async fn another_process_learns_of_people() {
    on_both(|t| async move {
        let directory = contoso(&t).await;
        let other = Directory::open(&t.store).await.unwrap().expect("the organisation");
        let (ada, news) = (address("ada@contoso.example"), address("news@contoso.example"));
        assert_eq!(other.recipient(&ada).await.unwrap(), None);
        assert_eq!(other.recipient(&news).await.unwrap(), None);
        directory.import_people(PEOPLE, None, false).await.unwrap();
        let person_id = directory.recipient(&ada).await.unwrap().expect("ada receives").person_id;
        directory.put_alias(&news, person_id).await.unwrap();
        assert_eq!(other.recipient(&ada).await.unwrap(), None, "it was looked up just now");
        t.clock.advance_ms(15_000);
        assert_eq!(other.recipient(&ada).await.unwrap().map(|r| r.person_id), Some(person_id));
        assert_eq!(other.recipient(&news).await.unwrap().map(|r| r.person_id), Some(person_id));
    })
    .await;
}

trait ReplaceText {
    fn replace_text(&self, from: &str, to: &str) -> Vec<u8>;
}
impl ReplaceText for [u8] {
    fn replace_text(&self, from: &str, to: &str) -> Vec<u8> {
        std::str::from_utf8(self).unwrap().replace(from, to).into_bytes()
    }
}

#[tokio::test]
async fn one_bad_line_applies_nothing_unless_asked() {
    on_both(|t| async move {
        let directory = contoso(&t).await;
        let file = [PEOPLE, b"nobody,No One,,,,\n"].concat();
        let report = directory.import_people(&file, Some("Everyone"), false).await.unwrap();
        assert_eq!((report.applied, report.good_count, report.rejected[0].line), (false, 2, 4));
        assert_eq!(directory.people_count().await.unwrap(), 0, "nothing was half applied");
        assert_eq!(directory.lists().await.unwrap().len(), 0);
        let report = directory.import_people(&file, None, true).await.unwrap();
        assert_eq!((report.applied, report.created_count, report.rejected_count), (true, 2, 1));
    })
    .await;
}

#[tokio::test]
async fn signing_in() {
    on_both(|t| async move {
        let directory = contoso(&t).await;
        let new = |login: &str, password: Option<&str>| NewAccount {
            login: login.into(),
            name: "Ada".into(),
            role: Role::Administrator,
            person_id: None,
            password: password.map(Into::into),
        };
        assert!(matches!(
            directory.create_account(new("x", Some("short"))).await,
            Err(DirectoryError::Invalid { field: "password", .. })
        ));
        directory.create_account(new("Ada@contoso.example", Some("correct horse"))).await.unwrap();
        assert!(matches!(
            directory.create_account(new("ada@contoso.example", None)).await,
            Err(DirectoryError::Exists(_))
        ));
        for (login, password) in [("ada@contoso.example", "wrong horse"), ("eve@contoso.example", "correct horse")] {
            assert!(matches!(directory.sign_in(login, password).await, Err(DirectoryError::Unauthenticated)));
        }
        let signed_in = directory.sign_in("ADA@contoso.example", "correct horse").await.unwrap();
        let principal = directory.session(&signed_in.token).await.unwrap().unwrap();
        assert_eq!(principal.csrf.as_deref(), Some(signed_in.csrf.as_str()));
        let id = principal.account.id;
        assert!(directory.change_password(id, "wrong horse", "battery staple").await.is_err());
        directory.change_password(id, "correct horse", "battery staple").await.unwrap();
        assert!(directory.sign_in("ada@contoso.example", "correct horse").await.is_err());
        directory.sign_in("ada@contoso.example", "battery staple").await.unwrap();
        t.clock.advance_ms(13 * 60 * 60 * 1000);
        assert!(directory.session(&signed_in.token).await.unwrap().is_none(), "a session ends");
    })
    .await;
}

#[tokio::test]
async fn a_link_signs_in_once_and_a_token_until_it_is_revoked() {
    on_both(|t| async move {
        let directory = contoso(&t).await;
        directory.import_people(PEOPLE, None, false).await.unwrap();
        assert_eq!(directory.create_recipient_accounts().await.unwrap(), 2);
        assert_eq!(directory.create_recipient_accounts().await.unwrap(), 0);
        let links = directory.invite_recipients().await.unwrap();
        assert_eq!(links.len(), 2);
        let account = directory.sign_in_by_link(&links[0].1.token).await.unwrap().account;
        assert_eq!((account.login.as_str(), account.role), ("ada@contoso.example", Role::Recipient));
        assert!(directory.sign_in_by_link(&links[0].1.token).await.is_err(), "a link works once");
        assert!(directory.sign_in_by_link("made up").await.is_err());
        let (token, secret) = directory.create_api_token(account.id, "script").await.unwrap();
        assert_eq!(directory.bearer(&secret).await.unwrap().unwrap().account.id, account.id);
        directory.revoke_api_token(account.id, token.id).await.unwrap();
        assert!(directory.bearer(&secret).await.unwrap().is_none());
        assert!(directory.bearer("lf_wrong").await.unwrap().is_none());
    })
    .await;
}

#[tokio::test]
async fn settings_are_checked_and_kept() {
    on_both(|t| async move {
        let directory = contoso(&t).await;
        let mut settings = directory.settings().await.unwrap();
        assert_eq!(settings, Settings::default());
        settings.tracking.base_url = "http://t.contoso.localhost:8080".into();
        settings.incident.delay_ms = 5_000;
        directory.save_settings(&settings).await.unwrap();
        assert_eq!(directory.settings().await.unwrap(), settings);
        settings.tracking.group_floor_count = 3;
        assert!(matches!(
            directory.save_settings(&settings).await,
            Err(DirectoryError::Invalid { field: "tracking.group_floor_count", .. })
        ));
    })
    .await;
}

#[tokio::test]
async fn without_rows_the_default_preset_protects() {
    on_both(|t| async move {
        let directory = contoso(&t).await;
        let cache = ProtectionCache::start(&directory).await.unwrap();
        assert_eq!(cache.current().policies.policies.len(), 1);
        assert_eq!(Directory::open(&t.store).await.unwrap().unwrap().id(), directory.id());
    })
    .await;
}
