//! The SMTP dialogues of the protocol's own tests, against a whole server.

use std::path::Path;

use smtp::transcript::Transcript;

use crate::site::Site;

/// What goes otherwise here than on a bare session, and why.
const OTHERWISE: &[(&str, &str)] =
    &[("starttls_unavailable.smtp", "a server always has a certificate: one of its own making, if no other")];

struct Dialogue {
    transcript: Transcript,
    /// How many copies it leaves for ada@example.org.
    for_ada: usize,
}

fn plain_dialogues() -> Vec<Dialogue> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../smtp/testdata");
    let entries = std::fs::read_dir(folder).expect("the transcripts are there");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.sort();
    let read = |path: &std::path::PathBuf| {
        let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(path).expect("a readable file");
        let messages = text.lines().filter(|line| line.starts_with("M: "));
        let for_ada = messages.filter(|line| line.contains(" <ada@example.org>")).count();
        let transcript = Transcript::parse(&name, &text).unwrap_or_else(|error| panic!("{error}"));
        Dialogue { transcript, for_ada }
    };
    paths.iter().map(read).filter(|dialogue| dialogue.transcript.is_plain()).collect()
}

#[tokio::test]
async fn every_plain_transcript_runs_on_the_server() {
    let site = Site::new();
    let (server, owner) = site.serve_first().await;
    let people = "address,name\nada@example.org,Ada\ngrace@example.org,Grace\n\"\"\"a> b\"\"@example.org\",Ab\n";
    assert_eq!(owner.import(people).await.done()["applied"], true);
    let dialogues = plain_dialogues();
    assert!(dialogues.len() >= 18, "found {} plain transcripts", dialogues.len());
    let (mut otherwise, mut expected) = (Vec::new(), 0);
    for dialogue in &dialogues {
        let name = dialogue.transcript.name();
        match dialogue.transcript.run_on_socket(server.smtp, None).await {
            Ok(()) => expected += dialogue.for_ada,
            Err(mismatch) => {
                assert!(OTHERWISE.iter().any(|(known, _)| *known == name), "{mismatch}");
                otherwise.push(name);
            }
        }
    }
    let listed: Vec<_> = OTHERWISE.iter().map(|(name, _)| *name).collect();
    assert_eq!(otherwise, listed, "listed as going otherwise, but they do not");
    assert_eq!(owner.copies_of("ada@example.org").await.len(), expected, "every message for Ada is there once");
    server.stop().await;
}
