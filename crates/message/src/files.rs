//! What a file is, by its bytes first and its name second.

use infer::MatcherType;
use memchr::memmem;
use model::FileKind;

/// Bytes from the start that decide whether something is text or HTML.
const SNIFF_BYTES: usize = 1_024;

/// Of what the library counts as applications, the programs.
const PROGRAM_TYPES: &[&str] = &[
    "application/vnd.microsoft.portable-executable",
    "application/x-executable",
    "application/x-mach-binary",
    "application/java",
    "application/vnd.android.dex",
    "application/vnd.android.dey",
    "application/wasm",
    "application/x-llvm",
];

/// The extension of a name: lower case, without dot, only when it looks like one.
pub(crate) fn extension(name: &str) -> String {
    const EXTENSION_CHARS_MAX: usize = 16;
    let name = name.trim().trim_end_matches(['.', ' ']);
    match name.rsplit_once('.') {
        Some((_, end))
            if !end.is_empty() && end.len() <= EXTENSION_CHARS_MAX && end.chars().all(char::is_alphanumeric) =>
        {
            end.to_lowercase()
        }
        _ => String::new(),
    }
}

/// The true type. A dangerous extension counts even on harmless bytes, since programs open files by their name.
pub(crate) fn kind_of(bytes: &[u8], extension: &str) -> FileKind {
    let by_bytes = kind_of_bytes(bytes);
    if matches!(by_bytes, Some(FileKind::Executable | FileKind::Shortcut | FileKind::MacroDocument)) {
        return by_bytes.unwrap_or(FileKind::Other);
    }
    match extension {
        "exe" | "dll" | "scr" | "com" | "pif" | "cpl" | "msi" | "msp" | "msix" | "appx" | "jar" | "apk" => {
            FileKind::Executable
        }
        "js" | "jse" | "vbs" | "vbe" | "wsf" | "wsh" | "wsc" | "sct" | "ps1" | "psm1" | "bat" | "cmd" | "sh"
        | "reg" | "py" | "pl" | "rb" | "php" => FileKind::Script,
        "lnk" | "url" | "hta" | "scf" | "chm" | "website" | "desktop" | "application" | "settingcontentms" => {
            FileKind::Shortcut
        }
        "docm" | "dotm" | "xlsm" | "xltm" | "xlam" | "xlsb" | "pptm" | "potm" | "ppam" | "ppsm" | "sldm" => {
            FileKind::MacroDocument
        }
        "iso" | "img" | "vhd" | "vhdx" | "dmg" | "udf" => FileKind::DiskImage,
        "htm" | "html" | "xhtml" | "shtml" | "svg" | "mht" | "mhtml" => by_bytes.unwrap_or(FileKind::Html),
        _ => by_bytes.unwrap_or_else(|| text_or_other(bytes)),
    }
}

fn kind_of_bytes(bytes: &[u8]) -> Option<FileKind> {
    let starts = |magic: &[u8]| bytes.starts_with(magic);
    if starts(b"L\0\0\0\x01\x14\x02\0\0\0\0\0\xC0\0\0\0\0\0\0F") {
        return Some(FileKind::Shortcut);
    }
    if is_executable(bytes) {
        return Some(FileKind::Executable);
    }
    if starts(b"#!") {
        return Some(FileKind::Script);
    }
    if starts(COMPOUND_MAGIC) {
        return Some(kind_of_compound(bytes));
    }
    if starts(b"PK\x03\x04") || starts(b"PK\x05\x06") {
        return Some(kind_of_zip(bytes));
    }
    let is_iso = bytes.get(32_769..32_774) == Some(b"CD001");
    if is_iso
        || starts(b"vhdxfile")
        || starts(b"conectix")
        || bytes.len() > 512 && bytes[bytes.len() - 512..].starts_with(b"conectix")
    {
        return Some(FileKind::DiskImage);
    }
    if starts(b"%PDF-") || starts(b"{\\rtf") || starts(b"\xE4\x52\x5C\x7B\x8C\xD8\xA7\x4D") {
        return Some(FileKind::Document);
    }
    if is_html(bytes) {
        return Some(FileKind::Html);
    }
    // Its list calls everything that begins with "MZ" a program; ours looked closer.
    let found = infer::get(bytes).filter(|_| !starts(b"MZ"))?;
    Some(match found.matcher_type() {
        MatcherType::App if PROGRAM_TYPES.contains(&found.mime_type()) => FileKind::Executable,
        MatcherType::App if found.mime_type() == "application/x-qemu-disk" => FileKind::DiskImage,
        MatcherType::App => return None, // signatures, certificates and the like
        MatcherType::Archive => FileKind::Archive,
        MatcherType::Audio | MatcherType::Image | MatcherType::Video => FileKind::Media,
        MatcherType::Book | MatcherType::Doc => FileKind::Document,
        MatcherType::Text => return None,
        MatcherType::Font | MatcherType::Custom => FileKind::Other,
    })
}

/// PE needs its header to be where it says, so that text that begins with "MZ" is none; ELF; Mach-O.
fn is_executable(bytes: &[u8]) -> bool {
    let pe_at = bytes.get(0x3C..0x40).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    let pe = bytes.starts_with(b"MZ")
        && (pe_at
            .and_then(|at| bytes.get(at as usize..))
            .is_some_and(|b| b.starts_with(b"PE\0\0") || b.starts_with(b"NE"))
            || bytes.iter().take(64).any(|b| *b == 0));
    let mach_o = [b"\xFE\xED\xFA\xCE", b"\xFE\xED\xFA\xCF", b"\xCE\xFA\xED\xFE", b"\xCF\xFA\xED\xFE"];
    pe || bytes.starts_with(b"\x7FELF") || mach_o.iter().any(|magic| bytes.starts_with(*magic))
}

/// The stream that holds an Office document with a password ([MS-OFFCRYPTO] 2.3.4.4).
const ENCRYPTED_PACKAGE: &str = "EncryptedPackage";

/// Whether the bytes are a document that only opens with a password: nobody saw what is in it.
pub(crate) fn is_encrypted_document(bytes: &[u8]) -> bool {
    bytes.starts_with(COMPOUND_MAGIC) && has_stream(bytes, ENCRYPTED_PACKAGE)
}

const COMPOUND_MAGIC: &[u8] = b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1";

/// Stream names of a compound file are UTF-16.
fn has_stream(bytes: &[u8], name: &str) -> bool {
    let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    memmem::find(bytes, &name).is_some()
}

/// OLE compound files: old Office documents, installers. A VBA project has a stream of that name in UTF-16.
fn kind_of_compound(bytes: &[u8]) -> FileKind {
    let has = |name: &str| has_stream(bytes, name);
    if has("_VBA_PROJECT") || has("Macros") {
        FileKind::MacroDocument
    } else if ["WordDocument", ENCRYPTED_PACKAGE, "Workbook", "Book", "PowerPoint Document", "__properties_version1.0"]
        .iter()
        .any(|n| has(n))
    {
        FileKind::Document
    } else if bytes.get(0x250..0x260).is_some() && has("\u{4840}") {
        FileKind::Executable // MSI tables begin with this character
    } else {
        FileKind::Other
    }
}

/// Office Open XML by the names in its directory; anything else is an archive.
fn kind_of_zip(bytes: &[u8]) -> FileKind {
    let has = |name: &str| memmem::find(bytes, name.as_bytes()).is_some();
    if has("vbaProject.bin") {
        FileKind::MacroDocument
    } else if has("[Content_Types].xml") && (has("word/") || has("xl/") || has("ppt/") || has("visio/"))
        || has("mimetypeapplication/vnd.oasis.opendocument")
        || has("mimetypeapplication/epub+zip")
    {
        FileKind::Document
    } else if has("META-INF/MANIFEST.MF") && has(".class") || has("AndroidManifest.xml") {
        FileKind::Executable
    } else {
        FileKind::Archive
    }
}

fn is_html(bytes: &[u8]) -> bool {
    let sniff = &bytes[..bytes.len().min(SNIFF_BYTES)];
    let sniff = sniff.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(sniff).trim_ascii_start();
    let lower = sniff.to_ascii_lowercase();
    let begins =
        [&b"<!doctype html"[..], b"<html", b"<head", b"<body", b"<script", b"<svg", b"<iframe", b"<meta", b"<a href"];
    begins.iter().any(|tag| lower.starts_with(tag))
        || lower.starts_with(b"<?xml")
            && (memmem::find(&lower, b"<svg").is_some() || memmem::find(&lower, b"<html").is_some())
        || lower.starts_with(b"<!--") && memmem::find(&lower, b"<html").is_some()
}

fn text_or_other(bytes: &[u8]) -> FileKind {
    let sniff = &bytes[..bytes.len().min(SNIFF_BYTES)];
    let control = sniff.iter().any(|b| *b < 32 && !b"\t\n\r\x0C\x1B".contains(b));
    if control || sniff.is_empty() { FileKind::Other } else { FileKind::Text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        let check = |bytes: &[u8], name: &str, kind: FileKind| {
            assert_eq!(kind_of(bytes, &extension(name)), kind, "{name}");
        };
        let mut pe = b"MZ".to_vec();
        pe.resize(0x80, 0);
        pe[0x3C] = 0x40;
        pe[0x40..0x44].copy_from_slice(b"PE\0\0");
        check(&pe, "invoice.pdf", FileKind::Executable);
        check(b"MZ is how this note begins", "note.txt", FileKind::Text);
        check(b"\x7FELF\x02\x01\x01", "x", FileKind::Executable);
        check(b"%PDF-1.7", "a.pdf", FileKind::Document);
        check(b"WScript.Echo 1", "a.VBS", FileKind::Script);
        check(b"#!/bin/sh\n", "readme", FileKind::Script);
        check(b"[InternetShortcut]", "a.url", FileKind::Shortcut);
        check(b"  <!DOCTYPE html><html>", "a.txt", FileKind::Html);
        check(b"<svg xmlns=", "a.svg", FileKind::Html);
        check(b"\x89PNG\r\n\x1a\n\0\0\0\0", "a.png", FileKind::Media);
        check(b"BEGIN:VCALENDAR", "invite.ics", FileKind::Text);
        check(b"PK\x03\x04..word/vbaProject.bin", "a.docx", FileKind::MacroDocument);
        check(b"PK\x03\x04..[Content_Types].xml..word/document.xml", "a.docx", FileKind::Document);
        check(b"PK\x03\x04..readme.txt", "a.zip", FileKind::Archive);
        check(b"Rar!\x1A\x07\x01\0", "a.rar", FileKind::Archive);
        check(b"\0\x01\x02", "blob", FileKind::Other);
        check(b"", "empty", FileKind::Other);
        check(b"-----BEGIN PGP SIGNATURE-----\n", "signature.asc", FileKind::Text);
        check(b"\0asm\x01\0\0\0", "x.wasm", FileKind::Executable);
    }

    #[test]
    fn extensions() {
        let check = |name: &str, expect: &str| assert_eq!(extension(name), expect, "{name:?}");
        check("a.tar.GZ", "gz");
        check("invoice.pdf .exe. ", "exe");
        check("noextension", "");
        check("a. b", "");
    }
}
