//! Bytes to facts: total, bounded, in one pass per step.

use std::panic::{AssertUnwindSafe, catch_unwind};

use model::{BulkFacts, Defect, Envelope, Facts, HeaderFacts, LinkFact, MailboxFact, Timestamp, UrlSource};

use crate::Limits;
use crate::archive::Files;
use crate::decode::{Encoding, short_text, text_of};
use crate::field::{Section, is_utf8};
use crate::headers::below_our_fields;
use crate::html;
use crate::mime::{self, Part};
use crate::urls::{Urls, host_named_by, host_text, parse_web};

/// RFC 5322 3.6: fields that occur once, other than From (which has a defect of its own).
const SINGLE_FIELDS: &[&str] =
    &["Date", "Sender", "Reply-To", "To", "Cc", "Bcc", "Message-ID", "In-Reply-To", "References", "Subject"];
/// A Date this far ahead of its receipt is in the future.
const FUTURE_MS: i64 = 24 * 60 * 60 * 1000;

/// What is known of a message besides its bytes.
#[derive(Debug, Clone, Copy)]
pub struct ParseContext<'a> {
    /// When it was received.
    pub received_at: Timestamp,
    /// How it came.
    pub envelope: &'a Envelope,
    /// The organisation's domains, lower case.
    pub own_domains: &'a [String],
    /// Bounds.
    pub limits: Limits,
}

/// Reads a message. Never fails and never panics: what is malformed becomes a [`Defect`], what is beyond a limit is
/// left out and said so. `auth` is left at its default (every result `none`), `sender_known` and `own_copy` at `None`:
/// others fill them in.
pub fn parse(raw: &[u8], context: &ParseContext<'_>) -> Facts {
    parse_body(raw, &context.limits, parse_header(raw, context))
}

/// The first half of [`parse`]: envelope and header section. Of the body nothing is known yet.
pub fn parse_header(raw: &[u8], context: &ParseContext<'_>) -> Facts {
    let facts = Facts {
        received_at: context.received_at,
        size_bytes: raw.len() as u64,
        reverse_path: context.envelope.reverse_path.clone(),
        client_ip: context.envelope.client.ip,
        helo: context.envelope.client.helo.clone(),
        tls: context.envelope.client.tls.is_some(),
        own_domains: context.own_domains.to_vec(),
        ..Facts::default()
    };
    // The MIME library has panicked on crafted input before. A panic here must not cost the facts of the envelope.
    let read = isolate(|| read_header(raw, context, facts.clone()));
    read.unwrap_or_else(|| broken(facts))
}

/// The second half of [`parse`]: adds to `facts`, which [`parse_header`] gave, what the parts of the body say.
pub fn parse_body(raw: &[u8], limits: &Limits, facts: Facts) -> Facts {
    // A first line that continues nothing is a field to whoever gets the mail from us: it must not begin the body here.
    let raw = below_our_fields(raw);
    // A panic in the body must not cost the header's facts.
    let read = isolate(|| read_body(&raw, limits, facts.clone()));
    read.unwrap_or_else(|| broken(facts))
}

fn broken(mut facts: Facts) -> Facts {
    note(&mut facts, Defect::BrokenMime);
    facts
}

fn isolate<R>(read: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(read)).ok()
}

fn note(facts: &mut Facts, defect: Defect) {
    if !facts.defects.contains(&defect) {
        facts.defects.push(defect);
    }
}

fn read_header(raw: &[u8], context: &ParseContext<'_>, mut facts: Facts) -> Facts {
    let limits = &context.limits;
    let section = Section::read_on(raw, limits);
    let bytes = &raw[..section.body_start];
    if section.broken {
        note(&mut facts, Defect::BrokenHeader);
    }
    if memchr::memchr(0, bytes).is_some() {
        note(&mut facts, Defect::NulInHeader);
    }
    if !is_utf8(bytes) {
        note(&mut facts, Defect::InvalidCharset);
    }
    facts.header = header_facts(&section, limits);
    facts.bulk = bulk_facts(&section, limits);
    header_defects(&section, &mut facts);
    facts
}

fn header_facts(section: &Section<'_>, limits: &Limits) -> HeaderFacts {
    let mailboxes = |name: &str, count_max: usize| -> Vec<MailboxFact> {
        let mut found: Vec<MailboxFact> = Vec::new();
        for field in section.all(name) {
            if found.len() >= count_max {
                break;
            }
            found.extend(field.mailboxes(limits, count_max - found.len()));
        }
        found
    };
    let text = |name: &str| section.find(name).map(|field| field.text(limits)).unwrap_or_default();
    let mut to = mailboxes("To", limits.recipients_max);
    to.extend(mailboxes("Cc", limits.recipients_max - to.len()));
    HeaderFacts {
        from: mailboxes("From", limits.originators_max),
        sender: mailboxes("Sender", 1).pop(),
        reply_to: mailboxes("Reply-To", limits.originators_max),
        to,
        subject: text("Subject"),
        message_id: section.find("Message-ID").map(|field| field.raw_text(limits)).unwrap_or_default(),
        date_at: section.find("Date").and_then(|field| field.date(limits)),
        received_count: u32::try_from(section.all("Received").count()).unwrap_or(u32::MAX),
        mailer: Some(text("X-Mailer")).filter(|mailer| !mailer.is_empty()).unwrap_or_else(|| text("User-Agent")),
    }
}

fn bulk_facts(section: &Section<'_>, limits: &Limits) -> BulkFacts {
    let has = |name: &str| section.find(name).is_some();
    let value = |name: &str| section.find(name).map(|field| field.raw_text(limits)).unwrap_or_default();
    let list_id = value("List-Id");
    let identifier =
        list_id.rsplit_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(id, _)| id.trim().to_owned());
    let precedence = value("Precedence").to_lowercase();
    let one_click: String = value("List-Unsubscribe-Post").chars().filter(|c| !c.is_whitespace()).collect();
    let auto_submitted = value("Auto-Submitted").to_lowercase();
    BulkFacts {
        list_unsubscribe: has("List-Unsubscribe"),
        one_click: one_click.eq_ignore_ascii_case("List-Unsubscribe=One-Click"),
        list_id: identifier.unwrap_or(list_id),
        precedence_bulk: matches!(precedence.as_str(), "bulk" | "list" | "junk"),
        feedback_id: has("Feedback-ID"),
        auto_submitted: !auto_submitted.is_empty()
            && auto_submitted.split(';').next().unwrap_or_default().trim() != "no",
    }
}

fn header_defects(section: &Section<'_>, facts: &mut Facts) {
    let count = |name: &str| section.all(name).count();
    let mut found = Vec::new();
    if count("From") == 0 {
        found.push(Defect::MissingFrom);
    }
    if count("From") > 1 || facts.header.from.len() > 1 {
        found.push(Defect::MultipleFrom);
    }
    if count("Date") == 0 {
        found.push(Defect::MissingDate);
    }
    if count("Message-ID") == 0 {
        found.push(Defect::MissingMessageId);
    }
    if SINGLE_FIELDS.iter().any(|name| count(name) > 1) {
        found.push(Defect::DuplicateField);
    }
    if facts.header.date_at.is_some_and(|at| at > facts.received_at.plus_ms(FUTURE_MS)) {
        found.push(Defect::FutureDate);
    }
    for defect in found {
        note(facts, defect);
    }
}

/// What a message's parts add up to, before it becomes facts.
struct Body<'l> {
    limits: &'l Limits,
    urls: Urls<'l>,
    files: Files<'l>,
    links: Vec<LinkFact>,
    plain: String,
    html_text: String,
    has_html: bool,
    remote_image_count: u32,
    defects: Vec<Defect>,
    /// Text and HTML that may still be searched.
    text_budget_bytes: usize,
    part_count: usize,
}

fn read_body(raw: &[u8], limits: &Limits, mut facts: Facts) -> Facts {
    let mut body = Body {
        limits,
        urls: Urls::new(limits),
        files: Files::new(limits),
        links: Vec::new(),
        plain: String::new(),
        html_text: String::new(),
        has_html: false,
        remote_image_count: 0,
        defects: Vec::new(),
        text_budget_bytes: limits.text_bytes_max,
        part_count: 0,
    };
    body.read_message(raw, 0);
    let text = if body.plain.trim().is_empty() { &body.html_text } else { &body.plain };
    let text = text.trim();
    facts.text_chars = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
    facts.text_head =
        text.chars().take(limits.text_head_chars_max).map(|c| if c == '\0' { '\u{FFFD}' } else { c }).collect();
    facts.has_html = body.has_html;
    facts.remote_image_count = body.remote_image_count;
    facts.links = body.links;
    facts.attachments = body.files.facts;
    let (urls, overflow) = body.urls.into_facts();
    facts.urls = urls;
    if overflow {
        body.defects.push(Defect::TooManyUrls);
    }
    for defect in body.defects {
        note(&mut facts, defect);
    }
    facts
}

impl Body<'_> {
    /// Reads a message that lies `depth` deep in others (0: the one received).
    fn read_message(&mut self, raw: &[u8], depth: usize) {
        let structure = mime::walk(raw, self.limits, depth);
        self.defects.extend(structure.defects);
        for part in structure.parts {
            self.part_count += 1;
            if self.part_count > self.limits.parts_max * 2 {
                self.defects.push(Defect::TooManyParts);
                return;
            }
            self.read_part(&part);
        }
    }

    fn read_part(&mut self, part: &Part<'_>) {
        let bytes = part.encoding.decode(part.body);
        let is_message = part.content_type == "message/rfc822" || part.content_type == "message/global";
        if part.is_text() && !part.is_attachment {
            self.read_text(part, &bytes);
            // A text with a name is shown and can be saved: it is both.
            if part.name.is_empty() {
                return;
            }
        } else if part.content_type == "text/html" && part.is_attachment {
            let (text, _) = text_of(&bytes, &part.charset);
            self.read_page(&text, false);
        } else if is_message && !part.closed && part.encoding != Encoding::Identity {
            if part.depth + 1 < self.limits.depth_max {
                self.read_message(&bytes, part.depth + 1);
            } else {
                self.defects.push(Defect::TooDeep);
            }
        }
        let empty_structure = part.content_type.starts_with("multipart/") && !part.closed;
        if !empty_structure {
            self.files.add(part.name.clone(), part.content_type.clone(), &bytes, part.closed);
        }
    }

    fn read_text(&mut self, part: &Part<'_>, bytes: &[u8]) {
        let is_html = part.content_type == "text/html";
        let cut = &bytes[..bytes.len().min(self.text_budget_bytes)];
        self.text_budget_bytes -= cut.len();
        let (text, valid) = text_of(cut, &part.charset);
        let text = text.replace("\r\n", "\n");
        if !valid && cut.len() == bytes.len() {
            self.defects.push(Defect::InvalidCharset);
        }
        if is_html {
            if cut.len() < bytes.len() {
                self.defects.push(Defect::BrokenHtml);
            }
            self.has_html = true;
            self.read_page(&text, part.message_depth == 0);
        } else {
            self.urls.add_text(&text);
            if part.message_depth == 0 {
                self.plain.push_str(&text);
                self.plain.push('\n');
            }
        }
    }

    fn read_page(&mut self, text: &str, is_shown: bool) {
        let page = html::read(text, self.limits);
        if page.broken {
            self.defects.push(Defect::BrokenHtml);
        }
        if page.overflow {
            self.defects.push(Defect::TooManyUrls);
        }
        self.remote_image_count = self.remote_image_count.saturating_add(page.remote_image_count);
        for link in &page.links {
            self.urls.add(&link.href, UrlSource::Href);
            self.compare_link(&link.href, &link.text);
        }
        for resource in &page.resources {
            self.urls.add(resource, UrlSource::Resource);
        }
        for form in &page.forms {
            self.urls.add(form, UrlSource::Form);
        }
        self.urls.add_text(&page.text);
        if is_shown {
            self.html_text.push_str(&page.text);
            self.html_text.push('\n');
        }
    }

    fn compare_link(&mut self, href: &str, text: &str) {
        if self.links.len() >= self.limits.links_max {
            return;
        }
        let Some(url) = parse_web(href.trim()) else { return };
        let Some(text_host) = host_named_by(text) else { return };
        let text = short_text(text, self.limits.link_text_chars_max);
        let fact = LinkFact { text, text_host, href_host: host_text(&url) };
        if !self.links.contains(&fact) {
            self.links.push(fact);
        }
    }
}
