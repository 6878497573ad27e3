//! What an author should look at before sending. Lint finds values, never errors: the author decides.

use std::cell::RefCell;
use std::rc::Rc;

use lol_html::{RewriteStrSettings, element, end_tag, rewrite_str, text};
use serde::{Deserialize, Serialize};

use crate::draft::{Draft, Tracking};
use crate::template::{Rendered, Template, UNSUBSCRIBE_FIELD, expressions, has_default, mentions};

/// Some clients clip HTML past about this size, in bytes.
pub const HTML_BYTES_MAX: usize = 102 * 1024;
/// A text part with fewer characters says nothing.
const TEXT_CHARS_MIN: usize = 20;

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LintCode {
    /// The text part is empty or nearly so: everything is in pictures.
    NoText,
    /// No unsubscribe link in the body (the header always has one).
    NoUnsubscribe,
    /// Larger than clients show.
    TooLarge,
    /// A picture without alt text.
    NoAlt,
    /// A link whose text shows another host than it leads to.
    LinkTextHost,
    /// A merge field without a default.
    NoDefault,
    /// A link with merge fields, which is therefore not tracked.
    PersonalLink,
    /// Pictures inside the page as data.
    DataImage,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lint {
    /// What.
    pub code: LintCode,
    /// In words, with what to do.
    pub message: String,
}

#[derive(Default)]
struct Seen {
    without_alt: usize,
    data_images: usize,
    href: Option<String>,
    shown: String,
    shown_hosts: Vec<(String, String)>,
    unsubscribe: bool,
}

/// Looks at a compiled template and at one rendering of it.
pub(crate) fn lint(draft: &Draft, template: &Template, rendered: &Rendered) -> Vec<Lint> {
    let mut found = Vec::new();
    let mut add = |code, message: String| found.push(Lint { code, message });
    let seen = look(template.page());
    if rendered.text.split_whitespace().map(|w| w.chars().count()).sum::<usize>() < TEXT_CHARS_MIN {
        add(LintCode::NoText, "the message has nearly no text: people and filters see only pictures".into());
    }
    if !seen.unsubscribe {
        let message =
            format!("no link to {{{{ {UNSUBSCRIBE_FIELD} }}}}: only mail programs that read the header offer one");
        add(LintCode::NoUnsubscribe, message);
    }
    if rendered.html.len() > HTML_BYTES_MAX {
        let message = format!("the HTML has {} bytes; some clients clip it past {HTML_BYTES_MAX}", rendered.html.len());
        add(LintCode::TooLarge, message);
    }
    if seen.without_alt > 0 {
        add(LintCode::NoAlt, format!("{} pictures have no alt text (alt=\"\" for decoration)", seen.without_alt));
    }
    if seen.data_images > 0 {
        add(
            LintCode::DataImage,
            format!("{} pictures are inside the page as data: link them instead", seen.data_images),
        );
    }
    // A tracked link leads to the tracking host first, so even a true address is not what filters see.
    let tracked = draft.tracking != Tracking::Off && draft.click_tracking;
    for (shown, leads) in &seen.shown_hosts {
        if shown != leads {
            add(
                LintCode::LinkTextHost,
                format!("a link shows {shown} and leads to {leads}: write words instead of an address"),
            );
        } else if tracked {
            add(LintCode::LinkTextHost, format!("a tracked link shows the address {shown}: write words instead"));
        }
    }
    // The address of the unsubscribe page and the person's own address always have a value.
    let always = |e: &str| [UNSUBSCRIBE_FIELD, "address"].iter().any(|name| mentions(e, name));
    for (field, source) in [("subject", &draft.subject), ("content", &draft.content)] {
        for (_, e) in
            expressions(source).filter(|(at, e)| source[*at..].starts_with("{{") && !has_default(e) && !always(e))
        {
            add(LintCode::NoDefault, format!("{field}: {{{{{e}}}}} has no default for people without a value"));
        }
    }
    if template.personal_link_count() > 0 {
        let message = format!("{} links hold merge fields; they are not tracked", template.personal_link_count());
        add(LintCode::PersonalLink, message);
    }
    found
}

/// The page as written, before slots: link hosts are the author's.
fn look(page: &str) -> Seen {
    let seen = Rc::new(RefCell::new(Seen::default()));
    let (on_image, on_link, on_text) = (Rc::clone(&seen), Rc::clone(&seen), Rc::clone(&seen));
    let settings = RewriteStrSettings::new()
        .append_element_content_handler(element!("img", move |el| {
            let mut seen = on_image.borrow_mut();
            seen.without_alt += usize::from(el.get_attribute("alt").is_none());
            seen.data_images += usize::from(el.get_attribute("src").is_some_and(|src| src.starts_with("data:")));
            Ok(())
        }))
        .append_element_content_handler(element!("a[href]", move |el| {
            let href = el.get_attribute("href").unwrap_or_default();
            {
                let mut seen = on_link.borrow_mut();
                seen.unsubscribe |= href.contains(UNSUBSCRIBE_FIELD);
                seen.href = Some(href);
                seen.shown.clear();
            }
            let on_end = Rc::clone(&on_link);
            let _ = el.on_end_tag(end_tag!(move |_| {
                let mut seen = on_end.borrow_mut();
                if let Some(href) = seen.href.take()
                    && let (Some(shown), Some(leads)) = (shown_host(&seen.shown), host(&href))
                {
                    seen.shown_hosts.push((shown, leads));
                }
                Ok(())
            }));
            Ok(())
        }))
        .append_element_content_handler(text!("a[href]", move |chunk| {
            on_text.borrow_mut().shown.push_str(chunk.as_str());
            Ok(())
        }))
        .with_strict(false);
    // A page that cannot be read was refused when it was compiled.
    let _ = rewrite_str(page, settings);
    seen.take()
}

fn host(address: &str) -> Option<String> {
    let host = url::Url::parse(address.trim()).ok()?.host_str()?.to_lowercase();
    Some(host.strip_prefix("www.").unwrap_or(&host).to_owned())
}

/// The host that a link's text shows, if it looks like an address.
fn shown_host(shown: &str) -> Option<String> {
    let shown = shown.trim();
    if shown.contains(char::is_whitespace) || shown.contains('@') || !shown.contains('.') {
        return None;
    }
    host(shown).or_else(|| host(&format!("https://{shown}")))
}
