//! What a process that died leaves among the bodies is taken away, and nothing else is.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use store::{Submission, Swept};
use testkit::{TestStore, on_both};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// A file as a process left it that long ago.
fn left(path: &Path, ago: Duration) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder");
    std::fs::write(path, b"left").expect("the file");
    age(path, ago);
}

fn age(path: &Path, ago: Duration) {
    let file = std::fs::File::options().write(true).open(path).expect("the file");
    file.set_modified(SystemTime::now() - ago).expect("its time");
}

/// A body that a row names; gives where it is.
async fn stored(t: &TestStore) -> PathBuf {
    let place = Arc::new(Mutex::new(0));
    let seen = place.clone();
    // The pack has its row by itself.
    let submission = Submission::with_body(Bytes::from_static(b"kept"), move |body| {
        *seen.lock().expect("nobody panics") = body.pack_id;
        Vec::new()
    });
    t.store.commit(submission).await.expect("it is stored");
    let pack_id = *place.lock().expect("nobody panics");
    t.pack_path(pack_id)
}

#[tokio::test]
async fn what_a_death_leaves_is_taken_away_and_nothing_else() {
    on_both(|t| async move {
        let kept = stored(&t).await;
        let old: i64 = t.store.next_id();
        let old_too: i64 = t.store.next_id();
        t.clock.advance_ms(2 * DAY_MS);
        let young: i64 = t.store.next_id();
        let two_days = 2 * DAY;
        age(&kept, two_days);

        let half = t.pack_path(old).with_extension("pack#1");
        let probes =
            [t.config.objects_dir.join(format!("probe/{old}")), t.config.objects_dir.join(format!("probe/{old}#1"))];
        let gone = [t.pack_path(old), half, probes[0].clone(), probes[1].clone()];
        gone.iter().for_each(|path| left(path, two_days));
        // Too young by its file, by its id, or not ours.
        let stays = [
            t.pack_path(old_too),
            t.pack_path(young),
            t.pack_path(young).with_extension("pack#1"),
            t.pack_path(old).with_extension("pack.bak"),
        ];
        left(&stays[0], DAY - Duration::from_secs(600));
        stays[1..].iter().for_each(|path| left(path, two_days));

        let swept = t.store.sweep().await.expect("a sweep");
        assert_eq!(swept, Swept { staged_count: 3, pack_count: 1, freed_bytes: 16, suspicious_count: 0 });
        for path in &gone {
            assert!(!path.exists(), "{}", path.display());
        }
        for path in stays.iter().chain([&kept]) {
            assert!(path.exists(), "{}", path.display());
        }
        assert_eq!(t.store.sweep().await.expect("another"), Swept::default());
    })
    .await;
}

/// Another database, or an older state of this one: then the rows are missing, not the packs too many.
#[tokio::test]
async fn many_packs_without_rows_are_no_leftovers() {
    on_both(|t| async move {
        let ids: Vec<i64> = (0..101).map(|_| t.store.next_id()).collect();
        t.clock.advance_ms(2 * DAY_MS);
        ids.iter().for_each(|id| left(&t.pack_path(*id), 2 * DAY));
        let swept = t.store.sweep().await.expect("a sweep");
        assert_eq!(swept, Swept { suspicious_count: 101, ..Swept::default() });
        assert!(ids.iter().all(|id| t.pack_path(*id).exists()), "the rows may be missing, not the packs too many");
        std::fs::remove_file(t.pack_path(ids[0])).expect("one less");
        assert_eq!(t.store.sweep().await.expect("a sweep").pack_count, 100);
    })
    .await;
}

#[tokio::test]
async fn an_empty_folder_is_swept_too() {
    on_both(|t| async move {
        assert_eq!(t.store.sweep().await.expect("a sweep"), Swept::default());
    })
    .await;
}
