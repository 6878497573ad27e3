//! Pages with SVG or MathML in them: there a style is markup and CDATA is text, until an element breaks out of it again
//! (HTML standard, 13.2.6.5). A library follows these rules; what it finds is added to what reading without them has found,
//! so that nothing hides behind the difference. Few mails have such a page.

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;

use lol_html::html_content::{Element, TextChunk, TextType};
use lol_html::{DocumentContentHandlers, HtmlRewriter, MemorySettings, Settings, element, end_tag};

use super::{Addresses, HtmlLink, Page, Reader};
use crate::Limits;

/// Memory of the library's reader: bounds the open elements, and with them what unmatched end tags cost.
const MEMORY_BYTES_MAX: usize = 512 * 1024;

/// Whether a page may have foreign elements.
pub(super) fn is_in(html: &str) -> bool {
    memchr::memchr_iter(b'<', html.as_bytes()).any(|at| {
        let begins = |name: &str| {
            html.as_bytes()[at + 1..].get(..name.len()).is_some_and(|b| b.eq_ignore_ascii_case(name.as_bytes()))
        };
        begins("svg") || begins("math")
    })
}

/// Adds the links, resources and forms that are only there by the rules for foreign elements.
pub(super) fn add(page: &mut Page, html: &str, limits: &Limits) {
    let found = by_library(html, limits);
    let items_max = limits.urls_max;
    let keep = |known: &mut Vec<String>, more: Vec<String>| {
        for one in more {
            if known.len() < items_max && !known.contains(&one) {
                known.push(one);
            }
        }
    };
    keep(&mut page.resources, found.resources);
    keep(&mut page.forms, found.forms);
    let is_new = |link: &HtmlLink| !page.links.iter().any(|known| known.href == link.href);
    let more: Vec<HtmlLink> = found.links.into_iter().filter(is_new).collect();
    let room = items_max.saturating_sub(page.links.len());
    page.overflow |= found.overflow || more.len() > room;
    page.links.extend(more.into_iter().take(room));
    page.remote_image_count = page.remote_image_count.max(found.remote_image_count);
    page.broken |= found.broken;
}

fn by_library(html: &str, limits: &Limits) -> Page {
    let reader = Rc::new(RefCell::new(Reader::new(limits, false)));
    let (on_element, on_text) = (Rc::clone(&reader), Rc::clone(&reader));
    // A text node may come in pieces; a character reference is only read in one.
    let mut node = String::new();
    let settings = Settings::new()
        .append_element_content_handler(element!("*", move |el| {
            let tag = el.tag_name();
            on_element.borrow_mut().start(&tag, &addresses(el));
            if tag == "a" {
                let on_end = Rc::clone(&on_element);
                let _ = el.on_end_tag(end_tag!(move |_| {
                    on_end.borrow_mut().end("a");
                    Ok(())
                }));
            }
            Ok(())
        }))
        .append_document_content_handler(DocumentContentHandlers::default().text(move |piece: &mut TextChunk<'_>| {
            if matches!(piece.text_type(), TextType::Data | TextType::PlainText) {
                node.push_str(piece.as_str());
                if piece.last_in_text_node() {
                    on_text.borrow_mut().text(&std::mem::take(&mut node));
                }
            }
            Ok(())
        }))
        .with_memory_settings(MemorySettings::new().with_max_allowed_memory_usage(MEMORY_BYTES_MAX))
        .with_strict(false);
    let mut rewriter = HtmlRewriter::new(settings, |_: &[u8]| {});
    let is_complete = rewriter.write(html.as_bytes()).and_then(|()| rewriter.end()).is_ok();
    let mut reader = reader.take();
    reader.close_link();
    reader.page.broken = !is_complete;
    reader.page
}

fn addresses(el: &Element<'_, '_>) -> Addresses<'static> {
    let value = |name: &str| el.get_attribute(name).map(Cow::Owned);
    Addresses {
        href: value("href").or_else(|| value("xlink:href")),
        src: value("src"),
        action: value("action"),
        formaction: value("formaction"),
        data: value("data"),
        background: value("background"),
    }
}
