//! Folders: listing, creating, renaming, deleting, subscriptions.

use testkit::on_both;

use crate::ground::Ground;

#[tokio::test]
async fn folders_are_made_listed_renamed_and_deleted() {
    on_both(|t| async move {
        let ground = Ground::new(&t.store).await;
        let mut client = ground.reader().await;
        assert_eq!(client.ok("LIST \"\" \"\"").await, ["* LIST (\\Noselect) \"/\" \"\""]);
        let all = client.ok("LIST \"\" *").await;
        assert_eq!(all[0], "* LIST (\\HasNoChildren) \"/\" INBOX");
        assert!(all.contains(&"* LIST (\\HasNoChildren \\Sent) \"/\" Sent".into()), "{all:?}");
        client.ok("CREATE \"a b/Entw&APw-rfe/\"").await;
        client.refused("CREATE \"a b\"", "NO [ALREADYEXISTS]").await;
        for wrong in ["INBOX", "\"\"", "\"a//b\"", "\" x\"", "&!"] {
            client.refused(&format!("CREATE {wrong}"), "NO [CANNOT]").await;
        }
        assert_eq!(
            client.ok("LIST \"\" \"a b*\"").await,
            ["* LIST (\\HasChildren) \"/\" \"a b\"", "* LIST (\\HasNoChildren) \"/\" \"a b/Entw&APw-rfe\""]
        );
        client.refused("CREATE Drafts", "NO [ALREADYEXISTS]").await;
        assert_eq!(client.ok("LIST \"\" Drafts").await, ["* LIST (\\HasNoChildren \\Drafts) \"/\" Drafts"]);
        client.refused("CREATE More (USE (\\Drafts))", "NO [CANNOT]").await;
        client.refused("CREATE More (USE (\\Flagged))", "NO [USEATTR]").await;
        client.refused("DELETE Sent", "NO [CANNOT]").await;
        client.refused("DELETE INBOX", "NO [CANNOT]").await;
        client.refused("DELETE None", "NO [NONEXISTENT]").await;
        client.ok("RENAME \"a b\" c").await;
        assert_eq!(client.ok("LIST c %").await.len(), 1);
        assert_eq!(client.ok("LIST \"\" c/%").await, ["* LIST (\\HasNoChildren) \"/\" c/Entw&APw-rfe"]);
        client.refused("RENAME c Sent", "NO [ALREADYEXISTS]").await;
        client.ok("UNSUBSCRIBE Sent").await;
        client.refused("SUBSCRIBE None", "NO [NONEXISTENT]").await;
        let subscribed = client.ok("LSUB \"\" *").await;
        assert!(subscribed.contains(&"* LSUB () \"/\" INBOX".into()), "{subscribed:?}");
        assert!(!subscribed.iter().any(|line| line.ends_with("Sent")), "{subscribed:?}");
        let extended = client.ok("LIST (SUBSCRIBED) \"\" (INBOX Sent) RETURN (STATUS (MESSAGES UIDNEXT SIZE))").await;
        assert_eq!(
            extended,
            ["* LIST (\\HasNoChildren \\Subscribed) \"/\" INBOX", "* STATUS INBOX (MESSAGES 0 UIDNEXT 1 SIZE 0)"]
        );
        let (_, first) = status(&mut client, "c").await;
        client.ok("SUBSCRIBE c").await;
        client.ok("DELETE c/Entw&APw-rfe").await;
        client.ok("DELETE c").await;
        let gone = client.ok("LIST (SUBSCRIBED) \"\" c*").await;
        assert!(gone.len() == 1 && gone[0].contains("\\NonExistent") && gone[0].ends_with(" c"), "{gone:?}");
        client.ok("CREATE c").await;
        let (_, second) = status(&mut client, "c").await;
        assert!(second > first, "a folder made again is another one: {first} {second}");
        ground.stop().await;
    })
    .await;
}

#[tokio::test]
async fn what_a_session_takes_from_itself_is_not_selected_any_more() {
    let t = testkit::sqlite().await;
    let ground = Ground::new(&t.store).await;
    let mut client = ground.reader().await;
    for (make, take) in [("CREATE Work", "DELETE Work"), ("CREATE Work/a", "RENAME Work Old")] {
        client.ok(make).await;
        client.ok("SELECT Work").await;
        client.ok(take).await;
        client.refused("FETCH 1 FLAGS", "BAD select").await;
    }
    ground.stop().await;
}

#[tokio::test]
async fn names_below_the_inbox_are_below_the_inbox() {
    let t = testkit::sqlite().await;
    let ground = Ground::new(&t.store).await;
    let mut client = ground.reader().await;
    client.ok("CREATE inbox/work").await;
    client.refused("CREATE INBOX/work", "NO [ALREADYEXISTS]").await;
    let listed = client.ok("LIST \"\" INBOX*").await;
    assert_eq!(listed, ["* LIST (\\HasChildren) \"/\" INBOX", "* LIST (\\HasNoChildren) \"/\" INBOX/work"]);
    client.ok("SELECT Inbox/work").await;
    client.refused(&format!("LIST \"\" \"{}\"", "*a".repeat(3_000)), "NO [LIMIT]").await;
    ground.stop().await;
}

async fn status(client: &mut crate::ground::Client<tokio::net::TcpStream>, name: &str) -> (i64, i64) {
    let line = client.ok(&format!("STATUS {name} (MESSAGES UIDVALIDITY)")).await.remove(0);
    let numbers: Vec<i64> =
        line.split(|c: char| !c.is_ascii_digit()).filter(|n| !n.is_empty()).map(|n| n.parse().unwrap()).collect();
    (numbers[0], numbers[1])
}
