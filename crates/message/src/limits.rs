//! Every bound of reading a message.

/// Bounds of [`crate::parse`]. [`Limits::default`] is what production uses; what lies beyond is not looked at and the
/// facts say so by a defect or `unscannable`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Fields of one header section.
    pub fields_max: usize,
    /// Bytes of one field's value that are decoded.
    pub field_bytes_max: usize,
    /// Depth of multiparts and enclosed messages.
    pub depth_max: usize,
    /// MIME parts.
    pub parts_max: usize,
    /// Mailboxes kept of From, Reply-To and Sender.
    pub originators_max: usize,
    /// Mailboxes kept of To and Cc together.
    pub recipients_max: usize,
    /// URLs kept.
    pub urls_max: usize,
    /// Bytes of one URL.
    pub url_bytes_max: usize,
    /// Links (with text that names a host) kept.
    pub links_max: usize,
    /// Characters of a link's text.
    pub link_text_chars_max: usize,
    /// Bytes of plain text, and of HTML, that are searched.
    pub text_bytes_max: usize,
    /// Characters kept of the text.
    pub text_head_chars_max: usize,
    /// Attachments kept, files inside archives included.
    pub attachments_max: usize,
    /// Characters kept of a name, a subject or another short text.
    pub short_text_chars_max: usize,
    /// Bytes unpacked from all archives of one message.
    pub archive_bytes_max: u64,
    /// Unpacked bytes per packed byte of one entry, past the first [`Limits::archive_ratio_floor_bytes`].
    pub archive_ratio_max: u64,
    /// Unpacked bytes of an entry that are never held against its ratio.
    pub archive_ratio_floor_bytes: u64,
    /// Entries read of one archive.
    pub archive_entries_max: usize,
    /// Archives inside archives.
    pub archive_depth_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            fields_max: 1_000,
            field_bytes_max: 16 * 1024,
            depth_max: 16,
            parts_max: 256,
            originators_max: 16,
            recipients_max: 100,
            urls_max: 500,
            url_bytes_max: 2_048,
            links_max: 200,
            link_text_chars_max: 200,
            text_bytes_max: 1024 * 1024,
            text_head_chars_max: 4_096,
            attachments_max: 200,
            short_text_chars_max: 1_000,
            archive_bytes_max: 64 * 1024 * 1024,
            archive_ratio_max: 150,
            archive_ratio_floor_bytes: 1024 * 1024,
            archive_entries_max: 200,
            archive_depth_max: 3,
        }
    }
}
