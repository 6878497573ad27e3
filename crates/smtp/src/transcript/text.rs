//! A transcript's text: lines to steps and settings, escapes, and the patterns of replies.

use model::Reply;

use super::{Message, Mismatch, STEP_MS_MAX, Settings, Step, Transcript};
use crate::data::Newlines;
use crate::server::{EarlyTalker, ServerConfig, Service};

const REPEAT_MAX: usize = 1024 * 1024;

impl Transcript {
    /// Reads a transcript; `name` is for messages.
    pub fn parse(name: &str, text: &str) -> Result<Transcript, Mismatch> {
        let mut config = ServerConfig::new("mx.example");
        config.early_talker = EarlyTalker::Refuse;
        let settings = Settings { config, refusals: Vec::new(), is_one_read: false, is_changed: false };
        let mut transcript = Transcript { name: name.to_owned(), settings, steps: Vec::new() };
        for (index, line) in text.lines().enumerate() {
            let parsed = transcript.take_line(index + 1, line.trim_end_matches(['\r', '\n']));
            parsed.map_err(|text| transcript.mismatch(index + 1, text))?;
        }
        if matches!(transcript.steps.first(), Some((_, Step::Send(_)))) {
            // Over a socket the banner waits for the bytes that come before it.
            transcript.settings.config.banner_delay_ms = STEP_MS_MAX;
            transcript.settings.is_changed = true;
        }
        Ok(transcript)
    }

    fn take_line(&mut self, number: usize, line: &str) -> Result<(), String> {
        if line.trim().is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if let Some(setting) = line.strip_prefix("! ") {
            return self.settings.take(setting);
        }
        let (mark, text) = line.split_at_checked(2).ok_or("a step has a mark of two characters")?;
        let text = text.strip_prefix(' ').unwrap_or(text);
        match mark {
            "C:" | "C>" => {
                let bytes = line_bytes(mark, text)?;
                if let Some((_, Step::Send(before))) = self.steps.last_mut() {
                    before.extend_from_slice(&bytes);
                    return Ok(());
                }
                self.steps.push((number, Step::Send(bytes)));
            }
            "S:" => self.steps.push((number, Step::Reply(text.to_owned()))),
            "M:" => {
                let message = Message { paths: text.to_owned(), body: Vec::new() };
                self.steps.push((number, Step::Message(message)));
            }
            "B:" | "B>" => match self.steps.last_mut() {
                Some((_, Step::Message(message))) => message.body.extend_from_slice(&line_bytes(mark, text)?),
                _ => return Err("B follows M".into()),
            },
            "T:" => self.steps.push((number, Step::Tls)),
            "X:" => self.steps.push((number, Step::Closed)),
            _ => return Err(format!("{mark:?} is no mark")),
        }
        Ok(())
    }
}

impl Settings {
    fn take(&mut self, setting: &str) -> Result<(), String> {
        let (name, value) = setting.split_once(' ').unwrap_or((setting, ""));
        let number = || value.trim().parse::<usize>().map_err(|_| format!("{name} needs a number"));
        let count = || value.trim().parse::<u32>().map_err(|_| format!("{name} needs a number"));
        self.is_changed = true;
        match name {
            "one-read" => {
                self.is_one_read = true;
                self.is_changed = false;
            }
            "tls" => self.config.tls_available = true,
            "lmtp" => {
                self.config.service = Service::Lmtp;
                self.config.null_sender_recipients_max = usize::MAX;
            }
            "submission" => {
                self.config.service = Service::Submission;
                self.config.login_mechanisms = &["PLAIN", "LOGIN"];
                self.config.login_delay_ms = 0;
                self.config.tls_available = true;
            }
            "normalise" => self.config.newlines = Newlines::Normalise,
            "login_failures_max" => self.config.login_failures_max = count()?,
            "body_line_bytes_max" => self.config.body_line_bytes_max = number()?,
            "header_bytes_max" => self.config.header_bytes_max = number()?,
            "tolerate-early-talkers" => self.config.early_talker = EarlyTalker::Tolerate,
            "size_bytes_max" => self.config.size_bytes_max = number()?,
            "recipients_max" => self.config.recipients_max = number()?,
            "line_bytes_max" => self.config.line_bytes_max = number()?,
            "errors_max" => self.config.errors_max = count()?,
            "messages_max" => self.config.messages_max = count()?,
            "refused_recipients_max" => self.config.refused_recipients_max = count()?,
            "refuse" => self.refusals.push(parse_refusal(value)?),
            _ => return Err(format!("{name:?} is no setting")),
        }
        Ok(())
    }
}

/// `address code subject.detail text`.
fn parse_refusal(value: &str) -> Result<(String, Reply), String> {
    let mut words = value.splitn(4, ' ');
    let mut word = || words.next().ok_or("the form is: refuse ADDRESS CODE SUBJECT.DETAIL TEXT");
    let (address, code, enhanced, text) = (word()?, word()?, word()?, word()?);
    let code: u16 = code.parse().map_err(|_| "the code is a number")?;
    let enhanced = enhanced.split_once('.').and_then(|(s, d)| Some((s.parse().ok()?, d.parse().ok()?)));
    let enhanced = enhanced.ok_or("the enhanced code has two numbers")?;
    let reply = match code {
        400..500 => Reply::transient(code, enhanced, text),
        500..600 => Reply::permanent(code, enhanced, text),
        _ => return Err("a refusal is 4yz or 5yz".into()),
    };
    Ok((address.to_owned(), reply))
}

fn line_bytes(mark: &str, text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = unescape(text)?;
    if mark.ends_with(':') {
        bytes.extend_from_slice(b"\r\n");
    }
    Ok(bytes)
}

pub(super) fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.extend_from_slice(before.as_bytes());
        let mark = after.chars().next().ok_or("a backslash at the end")?;
        let mut used_bytes = 1;
        match mark {
            'r' => out.push(b'\r'),
            'n' => out.push(b'\n'),
            't' => out.push(b'\t'),
            '0' => out.push(0),
            '\\' => out.push(b'\\'),
            'x' => {
                let hex = after.get(1..3).ok_or("\\x needs two digits")?;
                out.push(u8::from_str_radix(hex, 16).map_err(|_| "\\x needs two digits")?);
                used_bytes = 3;
            }
            '{' => {
                let end = after.find('}').ok_or("\\{ needs a }")?;
                let (what, times) = after[1..end].rsplit_once('*').ok_or("the form is \\{x*9}")?;
                let times: usize = times.parse().map_err(|_| "the form is \\{x*9}")?;
                out.extend_from_slice(what.repeat(times.min(REPEAT_MAX)).as_bytes());
                used_bytes = end + 1;
            }
            _ => return Err(format!("\\{mark} is no escape")),
        }
        rest = &after[used_bytes..];
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(out)
}

/// Whether `text` begins as `pattern` says, where `...` stands for anything.
pub(super) fn begins_as(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split("...").map(str::trim);
    let Some(mut rest) = parts.next().and_then(|head| text.strip_prefix(head)) else {
        return false;
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

pub(super) fn matches(expected: &Step, seen: &Step) -> bool {
    match (expected, seen) {
        (Step::Reply(pattern), Step::Reply(text)) => begins_as(pattern, text),
        (expected, seen) => expected == seen,
    }
}
