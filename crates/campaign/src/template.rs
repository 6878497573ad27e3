//! From what an author wrote to what one person gets.
//!
//! Once per campaign: MJML becomes HTML, each web link becomes a slot, the pixel's slot goes to the top, the plain text
//! is made from the HTML. Once per person: merge fields and slots are filled, in HTML escaped. A merge field that a person
//! has no value for and that has no default is an error, never an empty space.
//!
//! An author is not trusted with the server's memory: there are fields, a few filters and `{% if %}`, and nothing that
//! makes much out of little (loops, variables, repetition). What one rendering takes grows with the content and the values.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde::{Deserialize, Serialize};

use crate::draft::{ContentType, Draft, Tracking};
use crate::{CampaignError, Problem};

/// Instructions that one rendering may take.
const FUEL: u64 = 200_000;
/// Bytes of one part of one person's message.
const PART_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The statements that exist.
const STATEMENTS: &[&str] = &["if", "elif", "else", "endif"];
/// Links of one campaign that are tracked; what is more stays as written.
pub const LINKS_MAX: usize = 500;
/// Prefix of our own slots; a merge field may not begin with it.
const SLOT: &str = "landfall_";
const PIXEL_SLOT: &str = "landfall_pixel";
/// The merge field that holds a person's own unsubscribe address.
pub const UNSUBSCRIBE_FIELD: &str = "unsubscribe_url";
/// The fields that everybody has, if perhaps without a value.
pub const PERSON_FIELDS: &[&str] = &["first_name", "last_name", "name", "address", "department", "city", "language"];

const SUBJECT: &str = "subject";
const HTML: &str = "content.html";
const TEXT: &str = "content.txt";

/// Who a message is for: the columns of a person as frozen with the audience.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Fields {
    /// Full name.
    #[serde(default)]
    pub name: String,
    /// Address.
    #[serde(default)]
    pub address: String,
    /// Department.
    #[serde(default)]
    pub department: String,
    /// City.
    #[serde(default)]
    pub city: String,
    /// Language.
    #[serde(default)]
    pub language: String,
    /// Further columns of the import.
    #[serde(default)]
    pub attributes: BTreeMap<String, serde_json::Value>,
}

impl Fields {
    /// The merge fields that have a value. An empty value is no value, so that a default takes its place.
    pub fn values(&self) -> BTreeMap<String, String> {
        let mut words = self.name.split_whitespace();
        let first = words.next().unwrap_or_default().to_owned();
        let last = words.last().unwrap_or_default().to_owned();
        let mut values = BTreeMap::from([
            ("first_name".to_owned(), first),
            ("last_name".to_owned(), last),
            ("name".to_owned(), self.name.clone()),
            ("address".to_owned(), self.address.clone()),
            ("department".to_owned(), self.department.clone()),
            ("city".to_owned(), self.city.clone()),
            ("language".to_owned(), self.language.clone()),
        ]);
        for (name, value) in &self.attributes {
            let text = match value {
                serde_json::Value::String(text) => text.clone(),
                serde_json::Value::Null => continue,
                other => other.to_string(),
            };
            values.insert(name.clone(), text);
        }
        values.retain(|_, value| !value.trim().is_empty());
        values
    }
}

/// A campaign's content, compiled as far as it does not depend on a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    subject: String,
    /// The HTML as the author made it.
    page: String,
    html: String,
    text: String,
    /// The tracked links by position.
    links: Vec<String>,
    tracks_opens: bool,
    /// Links that hold merge fields: they stay as written, untracked.
    personal_links: usize,
}

/// One person's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// Subject: one line.
    pub subject: String,
    /// HTML part.
    pub html: String,
    /// Plain text part.
    pub text: String,
}

/// The addresses that fill a person's slots.
#[derive(Debug, Clone, Default)]
pub struct Slots {
    /// For each tracked link, in order of position.
    pub links: Vec<String>,
    /// The pixel, or empty.
    pub pixel: String,
    /// The person's own unsubscribe address.
    pub unsubscribe: String,
}

impl Template {
    /// Compiles subject and content.
    ///
    /// # Errors
    /// What is wrong with them: broken MJML or a broken merge field, with its line.
    pub(crate) fn compile(draft: &Draft) -> Result<Template, Vec<Problem>> {
        let mut problems: Vec<Problem> = syntax("subject", &draft.subject).into_iter().collect();
        // The author's own text first: its lines are the author's lines.
        problems.extend(syntax("content", &draft.content));
        if !problems.is_empty() {
            return Err(problems);
        }
        let page = match draft.content_type {
            ContentType::Html => draft.content.clone(),
            ContentType::Mjml => mjml_to_html(&draft.content).map_err(|p| vec![p])?,
        };
        let tracks = draft.tracking != Tracking::Off;
        let slotted = slot_links(&page, tracks && draft.click_tracking)?;
        let text = fill_slots(&message::html_to_text(&slotted.page), slotted.links.len());
        let html = fill_slots(&slotted.page, slotted.links.len());
        let html = if tracks { with_pixel(&html) } else { html };
        let (links, personal_links) = (slotted.links, slotted.personal_count);
        let subject = draft.subject.clone();
        let template = Template { subject, page, html, text, links, tracks_opens: tracks, personal_links };
        // Markup that goes away can leave behind what was not there before.
        let left = [&template.html, &template.text].into_iter().find_map(|part| growth(part)).map(|(_, why)| why);
        let broken = template.environment().map(|_| ()).map_err(|error| detail(&error));
        match left.map_or(broken, Err) {
            Ok(()) => Ok(template),
            Err(why) => {
                let message = format!("a merge field is broken by the markup around it: {why}");
                Err(vec![Problem::new("content", message)])
            }
        }
    }

    /// The tracked links, by position.
    pub fn links(&self) -> &[String] {
        &self.links
    }

    /// Whether a pixel is put in.
    pub fn tracks_opens(&self) -> bool {
        self.tracks_opens
    }

    /// How many links hold merge fields and are therefore left as written, untracked.
    pub fn personal_link_count(&self) -> usize {
        self.personal_links
    }

    /// The HTML as the author made it, merge fields unfilled, links as written.
    pub fn page(&self) -> &str {
        &self.page
    }

    /// The HTML with merge fields and slots unfilled.
    pub fn html(&self) -> &str {
        &self.html
    }

    /// The plain text with merge fields and slots unfilled.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The merge fields used, without our own slots.
    pub fn fields(&self) -> BTreeSet<String> {
        let Ok(environment) = self.environment() else { return BTreeSet::new() };
        let mut names = BTreeSet::new();
        for part in [SUBJECT, HTML, TEXT] {
            if let Ok(template) = environment.get_template(part) {
                names.extend(template.undeclared_variables(false));
            }
        }
        names.retain(|name| !name.starts_with(SLOT) && environment.globals().all(|(global, _)| global != name));
        names
    }

    /// The problems with merge fields that do not exist. `known`: attributes of the audience.
    pub fn unknown_fields(&self, draft: &Draft, known: &BTreeSet<String>) -> Vec<Problem> {
        let exists = |name: &str| PERSON_FIELDS.contains(&name) || name == UNSUBSCRIBE_FIELD || known.contains(name);
        let mut problems = Vec::new();
        for name in self.fields().iter().filter(|name| !exists(name)) {
            let all: Vec<&str> = PERSON_FIELDS
                .iter()
                .copied()
                .chain([UNSUBSCRIBE_FIELD])
                .chain(known.iter().map(String::as_str))
                .collect();
            let message = format!("there is no merge field {name:?}; the fields are {}", all.join(", "));
            for (field, source) in [("subject", &draft.subject), ("content", &draft.content)] {
                if let Some(line) = line_of_field(source, name) {
                    problems.push(Problem::at(field, Some(line), message.clone()));
                }
            }
        }
        problems
    }

    /// A renderer, to be used for many people.
    ///
    /// # Errors
    /// [`CampaignError::Internal`] for a template that was not compiled by us.
    pub fn renderer(&self) -> Result<Renderer<'_>, CampaignError> {
        let environment =
            self.environment().map_err(|e| CampaignError::Internal(format!("a compiled template: {}", detail(&e))))?;
        Ok(Renderer { template: self, environment })
    }

    fn environment(&self) -> Result<Environment<'_>, minijinja::Error> {
        let mut environment = environment();
        environment.add_template(SUBJECT, &self.subject)?;
        environment.add_template(HTML, &self.html)?;
        environment.add_template(TEXT, &self.text)?;
        Ok(environment)
    }
}

/// Renders one person after the other.
pub struct Renderer<'t> {
    template: &'t Template,
    environment: Environment<'t>,
}

impl Renderer<'_> {
    /// One person's message.
    ///
    /// # Errors
    /// The problem: a merge field without value and default, or a template that took too much fuel.
    pub fn render(&self, fields: &Fields, slots: &Slots) -> Result<Rendered, Problem> {
        let mut context: BTreeMap<String, Value> =
            fields.values().into_iter().map(|(name, value)| (name, Value::from(value))).collect();
        context.insert(UNSUBSCRIBE_FIELD.into(), Value::from_safe_string(slots.unsubscribe.clone()));
        if self.template.tracks_opens {
            context.insert(PIXEL_SLOT.into(), Value::from_safe_string(slots.pixel.clone()));
        }
        for (position, link) in slots.links.iter().enumerate() {
            context.insert(slot_name(position), Value::from_safe_string(link.clone()));
        }
        let context = Value::from(context);
        let subject: String = self.part(SUBJECT, "subject", &context)?;
        Ok(Rendered {
            // A value from an import must not become another header field.
            subject: subject.chars().map(|c| if c.is_control() { ' ' } else { c }).collect(),
            html: self.part(HTML, "content", &context)?,
            text: self.part(TEXT, "content", &context)?,
        })
    }

    fn part(&self, part: &str, field: &'static str, context: &Value) -> Result<String, Problem> {
        let mut page = Page(Vec::new());
        let rendered =
            self.environment.get_template(part).and_then(|t| t.render_captured_to(context, &mut page).map(|_| ()));
        let rendered = rendered.map(|()| String::from_utf8_lossy(&page.0).into_owned());
        rendered.map_err(|error| {
            if error.kind() == minijinja::ErrorKind::WriteFailure {
                return Problem::new(field, format!("it becomes larger than {PART_BYTES_MAX} bytes"));
            }
            if error.kind() != minijinja::ErrorKind::UndefinedError {
                return Problem::new(field, detail(&error));
            }
            let missing = self.missing(part, context);
            let message = match missing.as_slice() {
                [] => "a merge field has no value".to_owned(),
                names => format!(
                    "no value for {} and no default: write for example {}",
                    names.join(", "),
                    example(&names[0])
                ),
            };
            Problem::new(field, message)
        })
    }

    /// The fields of a part that have no value. Some of them may have a default; those are left out.
    fn missing(&self, part: &str, context: &Value) -> Vec<String> {
        let Ok(template) = self.environment.get_template(part) else { return Vec::new() };
        let without_value = |name: &String| context.get_attr(name).is_ok_and(|v| v.is_undefined());
        let source = template.source();
        let mut names: Vec<String> = template
            .undeclared_variables(false)
            .into_iter()
            .filter(without_value)
            .filter(|name| expressions(source).any(|(_, e)| mentions(e, name) && !has_default(e)))
            .collect();
        names.sort();
        names
    }
}

/// What has been rendered, up to the limit.
struct Page(Vec<u8>);

impl io::Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > PART_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn example(name: &str) -> String {
    format!("{{{{ {name} | default(\"…\") }}}}")
}

fn environment<'t>() -> Environment<'t> {
    use minijinja::{filters, tests};
    let mut environment = Environment::empty();
    environment.add_filter("default", filters::default);
    environment.add_filter("d", filters::default);
    environment.add_filter("upper", filters::upper);
    environment.add_filter("lower", filters::lower);
    environment.add_filter("title", filters::title);
    environment.add_filter("capitalize", filters::capitalize);
    environment.add_filter("trim", filters::trim);
    environment.add_filter("length", filters::length);
    environment.add_filter("escape", filters::escape);
    environment.add_filter("e", filters::escape);
    environment.add_test("defined", tests::is_defined);
    environment.add_test("undefined", tests::is_undefined);
    environment.add_test("startingwith", tests::is_startingwith);
    environment.add_test("endingwith", tests::is_endingwith);
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    environment.set_fuel(Some(FUEL));
    environment.set_auto_escape_callback(|name| if name == HTML { AutoEscape::Html } else { AutoEscape::None });
    environment
}

/// The first thing in a text that would make much out of little: where it is, and what it is.
fn growth(source: &str) -> Option<(usize, String)> {
    // Each `{%`, also one in a comment: so that nothing here rests on telling a statement from what only looks like one.
    for (at, _) in source.match_indices("{%") {
        let inside = source[at + 2..].trim_start_matches(['-', '+']).trim_start();
        let word = &inside[..inside.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(inside.len())];
        if !STATEMENTS.contains(&word) {
            let only = "{% if %}, {% elif %}, {% else %} and {% endif %}";
            return Some((at, format!("there is no {{% {word} %}}, only {only}")));
        }
    }
    let mut at = 0;
    while let Some(open) = source[at..].find('{').map(|i| at + i) {
        at = match source.as_bytes().get(open + 1) {
            Some(b'#') => source[open + 2..].find("#}").map_or(source.len(), |i| open + 2 + i + 2),
            Some(b'{') => match operators(source, open + 2, b"}}") {
                Ok(end) => end,
                Err(found) => return Some(found),
            },
            Some(b'%') => match operators(source, open + 2, b"%}") {
                Ok(end) => end,
                Err(found) => return Some(found),
            },
            _ => open + 1,
        };
    }
    None
}

/// The end of an expression that begins at `at`, or the operator in it that there is not. Strings may hold anything.
fn operators(source: &str, mut at: usize, close: &[u8]) -> Result<usize, (usize, String)> {
    let bytes = source.as_bytes();
    let mut quote = None;
    while let Some(&byte) = bytes.get(at) {
        match (quote, byte) {
            (Some(_), b'\\') => at += 1,
            (Some(open), _) if byte == open => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'*' | b'[' | b'{') => {
                return Err((at, format!("there is no {:?} in a merge field", char::from(byte))));
            }
            (None, _) if bytes[at..].starts_with(close) => return Ok(at + close.len()),
            (None, _) => {}
        }
        at += 1;
    }
    Ok(source.len())
}

/// What is wrong with the merge fields of a text, with its line.
fn syntax(field: &'static str, source: &str) -> Option<Problem> {
    if let Some((at, why)) = growth(source) {
        return Some(Problem::at(field, Some(line_at(source, at)), format!("a merge field cannot be read: {why}")));
    }
    let environment = environment();
    let template = match environment.template_from_str(source) {
        Ok(template) => template,
        Err(error) => {
            return Some(Problem::at(field, error.line(), format!("a merge field cannot be read: {}", detail(&error))));
        }
    };
    // Names of filters and functions are looked up only when they run. Their values are not judged here: they are the
    // people's, and every one of them is tried before a start.
    let context: BTreeMap<String, &str> =
        template.undeclared_variables(false).into_iter().map(|name| (name, "x")).collect();
    if let Err(error) = template.render(context) {
        use minijinja::ErrorKind::{UnknownFilter, UnknownFunction, UnknownMethod, UnknownTest};
        if matches!(error.kind(), UnknownFilter | UnknownFunction | UnknownMethod | UnknownTest) {
            return Some(Problem::at(field, error.line(), format!("a merge field cannot be read: {}", detail(&error))));
        }
    }
    let reserved = expressions(source).find(|(_, e)| identifiers(e).any(|name| name.starts_with(SLOT)));
    reserved.map(|(at, _)| {
        Problem::at(field, Some(line_at(source, at)), format!("names that begin with {SLOT} are our own"))
    })
}

fn detail(error: &minijinja::Error) -> String {
    error.detail().map_or_else(|| error.kind().to_string(), |detail| format!("{} ({detail})", error.kind()))
}

/// The elements of MJML; the parser would send an unknown one as it stands.
const ELEMENTS: &[&str] = &[
    "mjml",
    "mj-accordion",
    "mj-accordion-element",
    "mj-accordion-text",
    "mj-accordion-title",
    "mj-all",
    "mj-attributes",
    "mj-body",
    "mj-breakpoint",
    "mj-button",
    "mj-carousel",
    "mj-carousel-image",
    "mj-class",
    "mj-column",
    "mj-divider",
    "mj-font",
    "mj-group",
    "mj-head",
    "mj-hero",
    "mj-image",
    "mj-include",
    "mj-navbar",
    "mj-navbar-link",
    "mj-preview",
    "mj-raw",
    "mj-section",
    "mj-social",
    "mj-social-element",
    "mj-spacer",
    "mj-style",
    "mj-table",
    "mj-text",
    "mj-title",
    "mj-wrapper",
];

/// The elements of MJML must close in order. The parser takes any end tag for any element, which would send a page that
/// the author did not mean, and names the end of the text where something was left open.
fn balanced(source: &str) -> Result<(), Problem> {
    let mut open: Vec<(&str, usize)> = Vec::new();
    let mut at = 0;
    while let Some(start) = source[at..].find('<').map(|i| at + i) {
        let rest = &source[start..];
        let comment = rest.starts_with("<!--");
        let end = if comment { rest.find("-->").map(|i| i + 3) } else { rest.find('>').map(|i| i + 1) };
        let Some(end) = end else { break };
        at = start + end;
        let tag = &rest[1..end - 1];
        let (closing, name) = tag.strip_prefix('/').map_or((false, tag), |name| (true, name));
        let name = name.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).next().unwrap_or_default();
        if comment || !(name == "mjml" || name.starts_with("mj-")) {
            continue;
        }
        if !closing && !ELEMENTS.contains(&name) {
            let message = format!("the MJML cannot be read: there is no element <{name}>");
            return Err(Problem::at("content", Some(line_at(source, start)), message));
        }
        if tag.ends_with('/') {
            continue;
        }
        if !closing {
            open.push((name, line_at(source, start)));
            continue;
        }
        let here = Some(line_at(source, start));
        match open.pop() {
            Some((opened, _)) if opened == name => {}
            Some((opened, line)) => {
                let message = format!(
                    "the MJML cannot be read: </{name}> stands here, but <{opened}> of line {line} is still open"
                );
                return Err(Problem::at("content", here, message));
            }
            None => {
                let message = format!("the MJML cannot be read: </{name}> closes nothing");
                return Err(Problem::at("content", here, message));
            }
        }
    }
    match open.pop() {
        None => Ok(()),
        Some((opened, line)) => {
            let message = format!("the MJML cannot be read: <{opened}> is never closed");
            Err(Problem::at("content", Some(line), message))
        }
    }
}

fn mjml_to_html(source: &str) -> Result<String, Problem> {
    use mrml::prelude::parser::Error;
    balanced(source)?;
    let parsed = mrml::parse(source).map_err(|error| {
        let line = match &error {
            Error::UnexpectedElement { position, .. }
            | Error::UnexpectedToken { position, .. }
            | Error::MissingAttribute { position, .. }
            | Error::InvalidAttribute { position, .. }
            | Error::InvalidFormat { position, .. }
            | Error::IncludeLoaderError { position, .. } => Some(line_at(source, position.start)),
            Error::ParserError { source: cause, .. } => Some(usize::try_from(cause.pos().row).unwrap_or(1)),
            Error::EndOfStream { .. } => Some(source.lines().count().max(1)),
            Error::SizeLimit { .. } | Error::NoRootNode => None,
        };
        Problem::at("content", line, format!("the MJML cannot be read: {}", said(&error, source)))
    })?;
    let options = mrml::prelude::render::RenderOptions::default();
    let html = parsed.element.render(&options);
    html.map_err(|error| Problem::new("content", format!("the MJML cannot be made into HTML: {error}")))
}

/// The parser's error in an author's words.
fn said(error: &mrml::prelude::parser::Error, source: &str) -> String {
    use mrml::prelude::parser::Error;
    let shown = |start: usize, end: usize| {
        let text: String = source.get(start..end).unwrap_or_default().chars().take(60).collect();
        text.lines().next().unwrap_or_default().to_owned()
    };
    match error {
        Error::UnexpectedElement { position, .. } => {
            format!("there must be no {:?} here", shown(position.start, position.end))
        }
        Error::UnexpectedToken { position, .. } => format!("did not expect {:?}", shown(position.start, position.end)),
        Error::MissingAttribute { name, .. } => format!("the attribute {name} is missing"),
        Error::InvalidAttribute { position, .. } => {
            format!("the attribute {:?} is not valid", shown(position.start, position.end))
        }
        Error::InvalidFormat { .. } => "the markup is not well formed".to_owned(),
        Error::EndOfStream { .. } => "it ends before every element is closed".to_owned(),
        Error::SizeLimit { .. } => "it is too large".to_owned(),
        Error::ParserError { source: cause, .. } => cause.to_string(),
        Error::NoRootNode => "it needs one <mjml> element around everything".to_owned(),
        Error::IncludeLoaderError { .. } => "mj-include is not possible: put the content itself here".to_owned(),
    }
}

/// A page whose links are stand-ins.
struct Slotted {
    page: String,
    links: Vec<String>,
    personal_count: usize,
}

/// Stand-ins look like addresses, so that the text made from the page shows them; no real host ends in `.invalid`.
const STAND_IN: &str = "https://landfall.invalid";

/// Puts a stand-in in place of each web link to be tracked (the same address is one link) and of the unsubscribe address.
fn slot_links(page: &str, tracks_clicks: bool) -> Result<Slotted, Vec<Problem>> {
    let mut links: Vec<String> = Vec::new();
    let mut personal_count = 0;
    let rewritten = message::rewrite_links(page, |href| {
        if href.contains("{{") || href.contains("{%") {
            let inside = href.trim().strip_prefix("{{").and_then(|h| h.strip_suffix("}}")).map(str::trim);
            if inside == Some(UNSUBSCRIBE_FIELD) {
                return Some(format!("{STAND_IN}/unsubscribe/"));
            }
            personal_count += usize::from(tracks_clicks);
            return None;
        }
        // Only what a browser may be sent to; anything else stays as written.
        let parsed = url::Url::parse(href).ok()?;
        if !tracks_clicks || !matches!(parsed.scheme(), "http" | "https") {
            return None;
        }
        let position = links.iter().position(|link| link == href).or_else(|| {
            (links.len() < LINKS_MAX).then(|| {
                links.push(href.to_owned());
                links.len() - 1
            })
        })?;
        Some(format!("{STAND_IN}/link/{position}/"))
    });
    match rewritten {
        Ok(page) => Ok(Slotted { page, links, personal_count }),
        Err(error) => Err(vec![Problem::new("content", error.to_string())]),
    }
}

/// Stand-ins become slots.
fn fill_slots(text: &str, link_count: usize) -> String {
    let mut out = text.replace(&format!("{STAND_IN}/unsubscribe/"), &format!("{{{{ {UNSUBSCRIBE_FIELD} }}}}"));
    for position in 0..link_count {
        out = out.replace(&format!("{STAND_IN}/link/{position}/"), &format!("{{{{ {} }}}}", slot_name(position)));
    }
    out
}

fn slot_name(position: usize) -> String {
    format!("{SLOT}link_{position}")
}

/// The pixel goes to the top of the body: a client that clips a long page still fetches it.
fn with_pixel(page: &str) -> String {
    let pixel = format!(
        "<img src=\"{{{{ {PIXEL_SLOT} }}}}\" width=\"1\" height=\"1\" border=\"0\" alt=\"\" \
         style=\"display:block;width:1px;height:1px;border:0\">"
    );
    let lower = page.to_ascii_lowercase();
    let after_body = lower.find("<body").and_then(|at| lower[at..].find('>').map(|end| at + end + 1));
    let at = after_body.unwrap_or(0);
    format!("{}{pixel}{}", &page[..at], &page[at..])
}

/// The `{{ … }}` and `{% … %}` of a text, with their offsets.
pub(crate) fn expressions(source: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = &source[at..];
        let (open, close) = match (rest.find("{{"), rest.find("{%")) {
            (Some(a), Some(b)) if a < b => (a, "}}"),
            (Some(a), None) => (a, "}}"),
            (_, Some(b)) => (b, "%}"),
            (None, None) => return None,
        };
        let inside = open + 2;
        let end = rest[inside..].find(close).map_or(rest.len(), |end| inside + end);
        let found = (at + open, &rest[inside..end]);
        at += (end + 2).min(rest.len());
        Some(found)
    })
}

/// Whether an expression gives a default.
pub(crate) fn has_default(expression: &str) -> bool {
    expression.split('|').skip(1).any(|filter| {
        let filter = filter.trim_start();
        filter.starts_with("default") || filter.starts_with("d(")
    })
}

pub(crate) fn mentions(expression: &str, name: &str) -> bool {
    identifiers(expression).any(|word| word == name)
}

fn identifiers(expression: &str) -> impl Iterator<Item = &str> {
    expression.split(|c: char| !(c.is_alphanumeric() || c == '_'))
}

fn line_of_field(source: &str, name: &str) -> Option<usize> {
    expressions(source).find(|(_, e)| mentions(e, name)).map(|(at, _)| line_at(source, at))
}

fn line_at(source: &str, offset: usize) -> usize {
    source.as_bytes().iter().take(offset).filter(|b| **b == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(content_type: ContentType, content: &str) -> Draft {
        Draft {
            name: "n".into(),
            subject: "s".into(),
            from_name: String::new(),
            from_address: "a@x.example".into(),
            content_type,
            content: content.into(),
            list_id: None,
            tracking: Tracking::Anonymous,
            click_tracking: true,
        }
    }

    fn render(template: &Template, person: &Fields) -> Result<Rendered, Problem> {
        let links = (0..template.links().len()).map(|i| format!("https://t.example/t/{i}")).collect();
        let slots = Slots { links, pixel: "https://t.example/o.gif".into(), unsubscribe: "https://t.example/u".into() };
        template.renderer().unwrap().render(person, &slots)
    }

    #[test]
    fn broken_content_is_named_with_its_line() {
        let check = |content: &str, line: Option<usize>, says: &str| {
            let found = Template::compile(&draft(ContentType::Mjml, content)).unwrap_err();
            assert_eq!(found[0].line, line, "{content}: {found:?}");
            assert!(found[0].message.contains(says), "{content}: {found:?}");
        };
        check("<mjml>\n<mj-body>\n</mjml>", Some(3), "</mjml> stands here, but <mj-body> of line 2 is still open");
        check("<mjml>\n<mj-body>", Some(2), "<mj-body> is never closed");
        check("</mjml>", Some(1), "</mjml> closes nothing");
        check(
            "<mjml><mj-body>\n<mj-section><mj-column><mj-text>a</mj-button></mj-column></mj-section></mj-body></mjml>",
            Some(2),
            "<mj-text> of line 2",
        );
        check("<mjml>\n<mj-body>\n<mj-include path=\"x\" /></mj-body></mjml>", Some(3), "mj-include is not possible");
        check("<p>plain</p>", Some(1), "MJML");
        check("", None, "one <mjml> element");
        check("<mjml><mj-body>\n\n{{ a | nofilter }}</mj-body></mjml>", Some(3), "merge field");
        check("<mjml><mj-body>\n{% if a %}</mj-body></mjml>", Some(2), "merge field");
    }

    #[test]
    fn a_page_is_filled_escaped_and_slotted() {
        let page = "<html><body style='x'><p>{{ name }} of {{ team | default('all') }}</p>\
                    <a href='https://a.example/?b=1&amp;c=2'>A</a> <a href='mailto:x@y.example'>M</a> \
                    <a href='https://b.example/{{ name }}'>B</a> <a href=\"{{ unsubscribe_url }}\">U</a></body></html>";
        let template = Template::compile(&draft(ContentType::Html, page)).unwrap();
        assert_eq!(template.links(), ["https://a.example/?b=1&c=2"]);
        assert_eq!(template.personal_link_count(), 1);
        let person = Fields { name: "A & <B>".into(), ..Fields::default() };
        let rendered = render(&template, &person).unwrap();
        assert!(rendered.html.contains("<p>A &amp; &lt;B&gt; of all</p>"), "{}", rendered.html);
        assert!(rendered.html.contains("href=\"https://t.example/t/0\""), "{}", rendered.html);
        assert!(rendered.html.contains("href=\"https://t.example/u\""), "{}", rendered.html);
        assert!(rendered.html.contains("mailto:x@y.example") && !rendered.html.contains("a.example"));
        let pixel = rendered.html.find("https://t.example/o.gif").unwrap();
        assert!(pixel < rendered.html.find("<p>").unwrap());
        assert!(
            rendered.text.contains("A & <B> of all") && rendered.text.contains("A <https://t.example/t/0>"),
            "{}",
            rendered.text
        );
    }

    #[test]
    fn a_value_cannot_become_a_header_field_or_markup_of_a_template() {
        let mut hostile = draft(ContentType::Html, "<p>{{ name }}</p>");
        hostile.subject = "For {{ name }}".into();
        let template = Template::compile(&hostile).unwrap();
        let person = Fields { name: "Eve\r\nBcc: all@x.example {{ address }}".into(), ..Fields::default() };
        let rendered = render(&template, &person).unwrap();
        assert_eq!(rendered.subject, "For Eve  Bcc: all@x.example {{ address }}");
    }

    #[test]
    fn a_value_that_is_missing_is_said_and_a_default_takes_its_place() {
        let template =
            Template::compile(&draft(ContentType::Html, "{{ city | upper }} {{ team | default('-') }}")).unwrap();
        let missing = render(&template, &Fields::default()).unwrap_err();
        assert_eq!(missing.message, "no value for city and no default: write for example {{ city | default(\"…\") }}");
        let attributes = BTreeMap::from([("team".to_owned(), serde_json::Value::from(7))]);
        let person = Fields { city: "Bonn".into(), attributes, ..Fields::default() };
        assert!(render(&template, &person).unwrap().html.ends_with("BONN 7"));
        let guarded =
            Template::compile(&draft(ContentType::Html, "{% if city %}in {{ city }}{% else %}away{% endif %}"))
                .unwrap();
        assert!(render(&guarded, &Fields::default()).unwrap().html.ends_with("away"));
    }

    #[test]
    fn what_makes_much_out_of_little_is_refused_with_its_line() {
        let refused = |content: &str, says: &str| {
            for content_type in [ContentType::Html, ContentType::Mjml] {
                let found = Template::compile(&draft(content_type, &format!("<p>\n{content}</p>"))).unwrap_err();
                assert_eq!(found[0].line, Some(2), "{content}: {found:?}");
                assert!(found[0].message.contains(says), "{content}: {found:?}");
            }
        };
        refused("{% for a in name %}x{% endfor %}", "no {% for %}");
        refused("{% set a = name ~ name %}", "no {% set %}");
        refused("{%- include 'content.html' %}", "no {% include %}");
        refused("{# {% raw %} #}", "no {% raw %}");
        refused("{{ 'x' * 9999999 }}", "no '*'");
        refused("{{ '\\'' * 9 }}", "no '*'");
        refused("{{ [name] }}", "no '['");
        refused("{{ name | replace('a', name) }}", "replace");
        let starred = Template::compile(&draft(ContentType::Html, "{# * #}*{{ team | default('*[{\\'') }}*")).unwrap();
        assert!(render(&starred, &Fields::default()).unwrap().text.contains("**[{'*"));
    }

    #[test]
    fn markup_that_goes_away_leaves_no_statement() {
        let hidden = draft(ContentType::Html, "{<b></b>% set a = name %<b></b>}{<b></b>{ a ~ a }<b></b>}");
        let found = Template::compile(&hidden).map(|template| template.text().to_owned());
        assert!(found.as_ref().is_err_and(|p| p[0].message.contains("no {% set %}")), "{found:?}");
    }

    #[test]
    fn a_message_that_becomes_too_large_is_stopped() {
        let template = Template::compile(&draft(ContentType::Html, &"{{ name }}".repeat(2_000))).unwrap();
        let person = |length| Fields { name: "x".repeat(length), ..Fields::default() };
        assert!(render(&template, &person(100)).is_ok());
        let message = render(&template, &person(10_000)).unwrap_err().message;
        assert!(message.contains("larger than 4194304 bytes"), "{message}");
    }
}
