//! Several sessions on one mailbox, IDLE, purge and restore as clients see them.

use testkit::on_both;

use crate::ground::Ground;

const MAIL: &[u8] = b"Subject: Hello\r\n\r\nHi\r\n";

#[tokio::test]
async fn sessions_see_each_others_changes() {
    on_both(|t| async move {
        let ground = Ground::new(&t.store).await;
        for _ in 0..4 {
            ground.arrive(MAIL).await;
        }
        let (mut a, mut b) = (ground.reader().await, ground.reader().await);
        a.ok("STORE 4 +FLAGS (\\Answered)").await;
        assert_eq!(b.ok("NOOP").await, ["* 4 FETCH (FLAGS (\\Answered))"]);
        a.ok("STORE 2 +FLAGS.SILENT (\\Deleted)").await;
        assert_eq!(a.ok("EXPUNGE").await, ["* 2 EXPUNGE"]);
        // RFC 3501 7.4.1: numbers hold still for commands that speak of them.
        let (said, answer) = b.run("FETCH 1:4 (UID BODY.PEEK[TEXT])").await;
        assert_eq!(said.iter().filter(|l| l.contains("FETCH (UID")).count(), 3, "{said:?}");
        assert!(said.iter().all(|l| !l.contains("EXPUNGE")), "{said:?}");
        assert!(answer.starts_with("NO [EXPUNGEISSUED]"), "{answer}");
        assert_eq!(b.ok("SEARCH UNDELETED").await, ["* SEARCH 1 3 4"]);
        let said = b.ok("STORE 3 +FLAGS (\\Seen)").await;
        assert_eq!(said, ["* 3 FETCH (FLAGS (\\Seen))"]);
        assert_eq!(b.ok("UID SEARCH ALL").await, ["* SEARCH 1 3 4", "* 2 EXPUNGE"]);
        assert_eq!(b.ok("FETCH 2 UID").await, ["* 2 FETCH (UID 3)"]);
        // New mail is recent to one of the two.
        ground.arrive(MAIL).await;
        assert_eq!(a.ok("NOOP").await, ["* 4 EXISTS", "* 4 RECENT", "* 2 FETCH (FLAGS (\\Seen \\Recent))"]);
        assert_eq!(b.ok("NOOP").await, ["* 4 EXISTS", "* 0 RECENT"]);
        ground.stop().await;
    })
    .await;
}

#[tokio::test]
async fn what_others_changed_is_told_behind_ones_own_change() {
    on_both(|t| async move {
        let ground = Ground::new(&t.store).await;
        for _ in 0..3 {
            ground.arrive(MAIL).await;
        }
        let (mut a, mut b) = (ground.reader().await, ground.reader().await);
        a.ok("STORE 1 +FLAGS.SILENT (\\Flagged)").await;
        let said = b.ok("STORE 1:2 +FLAGS.SILENT (\\Seen)").await;
        assert_eq!(said, ["* 1 FETCH (FLAGS (\\Flagged \\Seen))"], "of the other it knows");
        assert_eq!(a.ok("NOOP").await.len(), 2);
        a.ok("STORE 3 FLAGS.SILENT (\\Answered)").await;
        let said = b.ok("FETCH 3 BODY[TEXT]").await;
        assert!(said[0].ends_with("FLAGS (\\Answered \\Seen))"), "{said:?}");
        assert_eq!(said.len(), 1, "{said:?}");
        ground.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_look_that_fails_half_way_tells_nothing_twice() {
    let t = testkit::sqlite().await;
    let ground = Ground::new(&t.store).await;
    let (mut client, mut other) = (ground.reader().await, ground.reader().await);
    let mut count = 0;
    for step in 1..=12 {
        ground.arrive(MAIL).await;
        count += 1;
        other.ok("NOOP").await;
        other.ok("STORE * +FLAGS.SILENT (\\Flagged)").await;
        t.faults.arm(store::Failing::Once, step);
        client.ok("NOOP").await;
        t.faults.disarm();
        client.ok("NOOP").await;
        let uids = client.ok("FETCH 1:* UID").await;
        let expect: Vec<String> = (1..=count).map(|n| format!("* {n} FETCH (UID {n})")).collect();
        assert_eq!(uids, expect, "step {step}");
        let flags = client.ok("FETCH * FLAGS").await.remove(0);
        assert!(flags.contains("\\Flagged"), "step {step}: {flags}");
    }
    ground.stop().await;
}

#[tokio::test]
async fn idle_is_woken_when_mail_comes_goes_and_comes_back() {
    on_both(|t| async move {
        let ground = Ground::new(&t.store).await;
        let mut client = ground.reader().await;
        client.write(b"i IDLE\r\n").await;
        assert_eq!(client.line().await, "+ idling");
        let copy = ground.arrive(MAIL).await;
        assert_eq!(client.line().await, "* 1 EXISTS");
        assert_eq!(client.line().await, "* 1 RECENT");
        let mut other = ground.reader().await;
        other.ok("STORE 1 FLAGS (\\Seen $Keep)").await;
        assert_eq!(client.line().await, "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Keep)");
        assert_eq!(client.line().await, "* 1 FETCH (FLAGS (\\Seen \\Recent $Keep))");
        let taken = ground.purge(copy).await;
        assert_eq!(client.line().await, "* 1 EXPUNGE");
        ground.restore(taken).await;
        assert_eq!(client.line().await, "* 1 EXISTS");
        assert!(client.line().await.ends_with("RECENT"));
        client.write(b"DONE\r\n").await;
        assert!(client.line().await.starts_with("i OK"));
        let back = client.ok("FETCH 1 (UID FLAGS)").await.remove(0);
        assert!(back.starts_with("* 1 FETCH (UID 2 FLAGS (\\Seen ") && back.ends_with("$Keep))"), "{back}");
        ground.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_selected_folder_that_goes_ends_the_session() {
    let t = testkit::sqlite().await;
    let ground = Ground::new(&t.store).await;
    let (mut a, mut b) = (ground.reader().await, ground.reader().await);
    a.ok("CREATE Work").await;
    b.ok("SELECT Work").await;
    a.ok("DELETE Work").await;
    b.write(b"x NOOP\r\n").await;
    assert!(b.line().await.starts_with("* BYE the selected folder"));
    ground.stop().await;
}

#[tokio::test]
async fn ten_thousand_messages() {
    let t = testkit::sqlite().await;
    let ground = Ground::new(&t.store).await;
    let mut client = ground.reader().await;
    client.append("INBOX", MAIL).await;
    client.ok("NOOP").await;
    // Doubling: 1, 2, 4, … 8,192, and the rest.
    for _ in 0..13 {
        client.ok("COPY 1:* INBOX").await;
    }
    client.ok("COPY 1:1808 INBOX").await;
    let select = client.ok("SELECT INBOX").await;
    assert!(select.contains(&"* 10000 EXISTS".into()), "{select:?}");
    assert_eq!(client.ok("FETCH 1:* (UID FLAGS)").await.len(), 10_000);
    assert_eq!(client.ok("STORE 1:* +FLAGS.SILENT (\\Deleted)").await, Vec::<String>::new());
    assert_eq!(client.ok("EXPUNGE").await.len(), 10_000);
    ground.stop().await;
}
