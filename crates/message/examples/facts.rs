//! Prints the facts of messages as JSON, one line per file: `cargo run -p message --example facts -- FILE…`.
//! With `--time N` first, reads each file N times and prints the mean microseconds per message instead.

use std::time::Instant;

use message::{Limits, ParseContext, parse, preview};
use model::{BodyType, ClientInfo, Envelope, ReversePath, Timestamp};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut files: Vec<String> = std::env::args().skip(1).collect();
    let mut rounds: u32 = 0;
    if files.first().is_some_and(|first| first == "--time") && files.len() > 2 {
        rounds = files[1].parse()?;
        files.drain(..2);
    }
    let envelope = Envelope {
        reverse_path: ReversePath::Null,
        forward_paths: Vec::new(),
        body_type: BodyType::EightBitMime,
        declared_size_bytes: None,
        options: Default::default(),
        rcpt_options: Vec::new(),
        client: ClientInfo {
            ip: [127, 0, 0, 1].into(),
            helo: "localhost".into(),
            esmtp: true,
            tls: None,
            lmtp: false,
            login: None,
        },
    };
    let context = ParseContext {
        received_at: Timestamp::default(),
        envelope: &envelope,
        own_domains: &[],
        limits: Limits::default(),
    };
    let mut bodies = Vec::new();
    for file in &files {
        bodies.push(std::fs::read(file)?);
    }
    if rounds == 0 {
        for (file, raw) in files.iter().zip(&bodies) {
            preview::read(raw, &context.limits);
            println!("{}", serde_json::json!({ "file": file, "facts": parse(raw, &context) }));
        }
        return Ok(());
    }
    let start = Instant::now();
    let mut url_count = 0;
    for _ in 0..rounds {
        url_count += bodies.iter().map(|raw| parse(raw, &context).urls.len()).sum::<usize>();
    }
    let mean_us = start.elapsed().as_secs_f64() * 1e6 / f64::from(rounds) / bodies.len() as f64;
    println!("{mean_us:.1} us per message, {} messages, {url_count} URLs", bodies.len());
    Ok(())
}
