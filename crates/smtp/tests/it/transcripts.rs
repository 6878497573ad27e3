//! Every dialogue of `testdata`, on the session (whole, byte by byte and cut at random) and over a socket.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use smtp::transcript::Transcript;

use crate::common;

fn transcripts() -> Vec<Transcript> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let entries = std::fs::read_dir(folder).expect("testdata is there");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.sort();
    let read = |path: &std::path::PathBuf| {
        let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(path).expect("a readable file");
        Transcript::parse(&name, &text).unwrap_or_else(|error| panic!("{error}"))
    };
    paths.iter().filter(|path| path.extension().is_some_and(|e| e == "smtp")).map(read).collect()
}

fn check(transcript: &Transcript, next_chunk_bytes: impl FnMut() -> usize) {
    if let Err(mismatch) = transcript.run_on_session(next_chunk_bytes) {
        panic!("{mismatch}");
    }
}

#[test]
fn on_the_session() {
    let all = transcripts();
    assert!(all.len() >= 30, "found {} transcripts", all.len());
    for transcript in &all {
        check(transcript, || usize::MAX);
        if !transcript.is_one_read() {
            check(transcript, || 1);
        }
    }
}

#[tokio::test]
async fn over_a_socket() {
    let (server_tls, client_tls) = common::tls();
    for transcript in transcripts() {
        let handler = Arc::new(transcript.handler());
        let tls = transcript.config().tls_available.then(|| server_tls.clone());
        let server = common::start(transcript.config().clone(), tls, handler.clone()).await;
        let ran = transcript.run_on_socket(server.addr, Some((client_tls.clone(), common::server_name()))).await;
        server.stop().await;
        if let Err(mismatch) = ran.and_then(|()| transcript.check_messages(&handler)) {
            panic!("{mismatch}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn cut_at_random(chunks in prop::collection::vec(1usize..40, 1..50)) {
        for transcript in transcripts().iter().filter(|t| !t.is_one_read()) {
            let mut at = 0;
            check(transcript, || { at += 1; chunks[at % chunks.len()] });
        }
    }
}
