//! A TLS report as a mail (RFC 8460 5.3), put into the ordinary queue.

use bytes::Bytes;
use data_encoding::BASE64;
use model::{Address, MessageId, ReversePath, SqlText};
use store::{BodyRef, Op, StoreError, Submission, Topic, values};

use crate::lane::Shared;
use crate::tls::report::ReportConfig;
use crate::tls::results::day_begin;
use crate::{NewDelivery, Purpose, delivery_ops, queued_copy_ops};

const BASE64_LINE_CHARS: usize = 76;

/// One report.
pub(crate) struct Report<'a> {
    pub(crate) domain: &'a str,
    pub(crate) id: &'a str,
    pub(crate) file_name: &'a str,
    pub(crate) gz: &'a [u8],
    pub(crate) day: i64,
}

/// Stores the mail and its hand-over. A report is about mail, so nobody is told when it does not arrive.
pub(crate) async fn enqueue(
    shared: &Shared,
    config: &ReportConfig,
    report: &Report<'_>,
    to: Address,
) -> Result<(), StoreError> {
    let store = &shared.store;
    let message_id: MessageId = store.next_id();
    let header = format!("<{message_id}.tlsrpt@{}>", shared.config.hostname);
    let mut body = write(config, report, &to, &header, store.now());
    if let Some(sign) = &config.signer {
        let signature = sign(body.clone()).await?;
        body.splice(0..0, signature.unwrap_or_default());
    }
    let copy_id = store.next_id();
    let path = ReversePath::Address(config.from.clone());
    let mut new = NewDelivery::now(store, config.organisation_id, copy_id, message_id, path, to);
    new.purpose = Purpose::TlsReport;
    new.may_tell = false;
    let subject = SqlText::new(&subject(config, report));
    let from = config.from.to_string();
    let rows: Vec<Op> = queued_copy_ops(&new, None).into_iter().chain(delivery_ops(new.clone())).collect();
    let ops = move |place: &BodyRef| {
        let signed = |unsigned: u64| i64::try_from(unsigned).unwrap_or(i64::MAX);
        let row = values![
            message_id,
            new.organisation_id,
            "outbound",
            place.pack_id,
            signed(place.offset),
            signed(place.bytes),
            &place.sha256,
            &header,
            &from,
            &from,
            "TLS reports",
            &subject,
            subject.as_str().to_lowercase(),
            "",
            "",
            new.created_at,
            None::<i64>,
            None::<&str>,
            None::<&str>,
            None::<&str>,
            None::<i64>,
        ];
        std::iter::once(Op::Insert("message.insert", row.to_vec())).chain(rows.iter().cloned()).collect()
    };
    store.commit(Submission::with_body(Bytes::from(body), ops)).await?;
    store.bus().announce(Topic::Delivery, message_id);
    Ok(())
}

fn subject(config: &ReportConfig, report: &Report<'_>) -> String {
    format!("Report Domain: {} Submitter: {} Report-ID: <{}>", report.domain, config.from.domain(), report.id)
}

fn write(config: &ReportConfig, report: &Report<'_>, to: &Address, message_id: &str, now: model::Timestamp) -> Vec<u8> {
    let boundary = "=_tlsrpt";
    let submitter = config.from.domain();
    let day = day_begin(report.day).to_rfc3339();
    let day = day.split('T').next().unwrap_or_default();
    let mut text = format!(
        "Date: {date}\r\nFrom: <{from}>\r\nTo: <{to}>\r\nSubject: Report Domain: {domain}\r\n \
         Submitter: {submitter}\r\n Report-ID: <{id}>\r\nMessage-ID: {message_id}\r\nTLS-Report-Domain: {domain}\r\n\
         TLS-Report-Submitter: {submitter}\r\nTLS-Required: No\r\nAuto-Submitted: auto-generated\r\n\
         MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=\"tlsrpt\";\r\n boundary=\"{boundary}\"\r\n\r\n\
         --{boundary}\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n\
         This is an aggregate TLS report (RFC 8460) from {submitter} for {domain},\r\nfor {day} (UTC).\r\n\r\n\
         --{boundary}\r\nContent-Type: application/tlsrpt+gzip\r\nContent-Transfer-Encoding: base64\r\n\
         Content-Disposition: attachment;\r\n filename=\"{name}\"\r\n\r\n",
        date = now.to_rfc5322(),
        from = config.from,
        domain = report.domain,
        id = report.id,
        name = report.file_name,
    );
    let encoded = BASE64.encode(report.gz);
    for line in encoded.as_bytes().chunks(BASE64_LINE_CHARS) {
        text.push_str(std::str::from_utf8(line).unwrap_or_default());
        text.push_str("\r\n");
    }
    text.push_str(&format!("--{boundary}--\r\n"));
    text.into_bytes()
}
