//! What grows by itself has an end: sessions of an account, lists of an organisation.

use directory::{Directory, DirectoryError, LISTS_MAX, NewAccount, NewOrganisation, SESSIONS_MAX};
use model::{Domain, ListId, Role};
use store::values;
use testkit::{TestStore, on_both};

async fn contoso(t: &TestStore) -> Directory {
    let domains = vec![Domain::parse("contoso.example").unwrap()];
    Directory::create(&t.store, NewOrganisation { name: "Contoso".into(), domains }).await.unwrap()
}

#[tokio::test]
async fn the_oldest_session_of_an_account_ends_when_there_are_too_many() {
    on_both(|t| async move {
        let directory = contoso(&t).await;
        let mut tokens = Vec::new();
        let new = |login: &str| NewAccount {
            login: login.into(),
            name: login.into(),
            role: Role::Analyst,
            person_id: None,
            password: None,
        };
        let [ada, bob] = [new("ada"), new("bob")];
        let (ada, bob) = (directory.create_account(ada).await.unwrap(), directory.create_account(bob).await.unwrap());
        let others = directory.sign_in_link(bob.id).await.unwrap();
        let others = directory.sign_in_by_link(&others.token).await.unwrap();
        for _ in 0..=SESSIONS_MAX {
            let link = directory.sign_in_link(ada.id).await.unwrap();
            tokens.push(directory.sign_in_by_link(&link.token).await.unwrap().token);
        }
        assert!(directory.session(&tokens[0]).await.unwrap().is_none(), "the oldest has ended");
        for token in &tokens[1..] {
            assert!(directory.session(token).await.unwrap().is_some());
        }
        assert!(directory.session(&others.token).await.unwrap().is_some(), "somebody else's goes on");
    })
    .await;
}

#[tokio::test]
async fn there_are_only_so_many_lists() {
    on_both(|t| async move {
        let directory = contoso(&t).await;
        let mut tx = t.store.begin().await.unwrap();
        let list = |n: i64| values![t.store.next_id::<ListId>(), directory.id(), format!("List {n}"), t.store.now()];
        let rows: Vec<_> = (0..LISTS_MAX).map(|n| list(n).to_vec()).collect();
        tx.insert_many("list.put", &rows).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(directory.lists().await.unwrap().len() as i64, LISTS_MAX);
        let known = directory.put_list("List 7").await.unwrap();
        assert_eq!(directory.list(known).await.unwrap().map(|list| list.name).as_deref(), Some("List 7"));
        let one_more = directory.fill_list("One more", &[], None).await;
        assert!(matches!(one_more, Err(DirectoryError::Invalid { field: "list", .. })), "{one_more:?}");
    })
    .await;
}
