//! A file that runs when opened, judged by its bytes and its name together.
//!
//! A file in disguise (a program called `invoice.pdf`, or `invoice.pdf.exe`) has no honest reading and is malware. Programs,
//! scripts and shortcuts by their own name are suspicious; what they may do is the policy's file type filter. Archives
//! that could not be opened, disk images, HTML files and documents with macros weigh little by themselves.

use super::{Cause, Finding, Look, Rule};
use crate::names;
use model::{AttachmentFact, FileKind, VerdictClass};

/// See the module.
pub const RULE: Rule = Rule {
    id: "dangerous_attachment",
    version: 1,
    weight: 10.0,
    class: VerdictClass::Malware,
    about: "An attached file runs when opened, or hides what it is.",
    check,
};

/// Endings of files that run.
const RUNNING: &[&str] = &[
    "exe", "com", "scr", "pif", "bat", "cmd", "msi", "msp", "dll", "cpl", "vbs", "vbe", "js", "jse", "wsf", "wsh",
    "wsc", "ps1", "hta", "lnk", "reg", "jar", "app", "apk", "sct", "url",
];
/// Endings that promise something harmless.
const HARMLESS: &[&str] = &[
    "pdf", "doc", "docx", "xls", "xlsx", "ppt", "pptx", "odt", "ods", "txt", "csv", "rtf", "jpg", "jpeg", "png", "gif",
    "mp3", "mp4", "ics",
];
/// Turns the direction of text: `exe.fdp` shown as `pdf.exe`.
const DIRECTION_MARKS: &[char] = &['\u{202A}', '\u{202B}', '\u{202D}', '\u{202E}', '\u{2066}', '\u{2067}', '\u{2068}'];

fn check(look: &Look<'_>) -> Vec<Finding> {
    look.facts.attachments.iter().filter_map(danger).collect()
}

fn danger(file: &AttachmentFact) -> Option<Finding> {
    let name = names::bounded(&file.name);
    let runs_by_bytes = matches!(file.kind, FileKind::Executable | FileKind::Script | FileKind::Shortcut);
    let runs_by_name = RUNNING.contains(&file.extension.as_str());
    let promises_harmless = HARMLESS.contains(&file.extension.as_str());
    let malware = VerdictClass::Malware;
    let (class, share, sentence) = if runs_by_bytes && promises_harmless {
        (malware, 1.0, format!("the file '{name}' says .{}, but is a program ({})", file.extension, file.kind))
    } else if runs_by_name && has_harmless_middle(&file.name) {
        (malware, 1.0, format!("the file '{name}' has two endings, the last of which runs"))
    } else if file.name.contains(DIRECTION_MARKS) && (runs_by_name || runs_by_bytes) {
        (malware, 1.0, format!("the file '{name}' hides its ending behind a mark that turns the text around"))
    } else if runs_by_bytes || runs_by_name {
        (malware, 0.6, format!("the file '{name}' runs when opened"))
    } else {
        return lesser_danger(file, &name);
    };
    Some(finding(file, class, share, sentence))
}

fn lesser_danger(file: &AttachmentFact, name: &str) -> Option<Finding> {
    let (class, share, sentence) = match file.kind {
        FileKind::DiskImage => (VerdictClass::Malware, 0.5, format!("the file '{name}' is a disk image")),
        FileKind::MacroDocument => (VerdictClass::Malware, 0.3, format!("the document '{name}' can carry macros")),
        FileKind::Html => (VerdictClass::Phish, 0.3, format!("the attached file '{name}' is a web page")),
        FileKind::Archive if file.unscannable => {
            (VerdictClass::Malware, 0.3, format!("the archive '{name}' could not be looked into"))
        }
        FileKind::Archive | FileKind::Executable | FileKind::Script | FileKind::Shortcut => return None,
        FileKind::Document | FileKind::Media | FileKind::Text | FileKind::Other => return None,
    };
    Some(finding(file, class, share, sentence))
}

fn finding(file: &AttachmentFact, class: VerdictClass, share: f32, mut sentence: String) -> Finding {
    if let Some(archive) = &file.inside {
        sentence.push_str(&format!(" (in '{}')", names::bounded(archive)));
    }
    let evidence = format!("{} {} sha256={}", names::bounded(&file.name), file.kind, file.sha256);
    Finding::new(class, sentence, evidence).share(share).cause(Cause::File(file.sha256.clone()))
}

/// `invoice.pdf.exe`
fn has_harmless_middle(name: &str) -> bool {
    let mut endings = name.rsplit('.').skip(1);
    let middle = endings.next().unwrap_or_default().trim().to_lowercase();
    endings.next().is_some() && HARMLESS.contains(&middle.as_str())
}

#[cfg(test)]
#[test]
fn cases() {
    crate::cases::check(
        &RULE,
        r"
        # A program under the name of a document, in an archive.
        file: invoice.pdf executable in=scan.zip
        expect: malware 10 the file 'invoice.pdf' says .pdf, but is a program (executable) (in 'scan.zip')

        # Two endings.
        file: invoice.pdf.js script
        expect: malware 10 the file 'invoice.pdf.js' has two endings, the last of which runs

        # A program by its own name.
        file: setup.exe executable
        expect: malware 6 the file 'setup.exe' runs when opened

        # A name with dots that is a document.
        file: report.2026.pdf document
        expect: none

        # A web page.
        file: voicemail.html html
        expect: phish 3 the attached file 'voicemail.html' is a web page

        # An archive that could be opened says nothing by itself.
        file: pictures.zip archive
        expect: none

        # One that could not.
        file: pictures.zip archive unscannable
        expect: malware 3 the archive 'pictures.zip' could not be looked into
        ",
    );
}
