use super::*;

fn limits() -> Limits {
    Limits::default()
}

const NESTED: &[u8] = b"From: a@x\r\nContent-Type: multipart/mixed; boundary=\"o;\\\"b\"\r\n\r\npreamble\r\n--o;\"b\r\n\r\none\r\n\
--o;\"b\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\nContent-Type: multipart/alternative; boundary=i\r\n\r\n--i\r\n\
Content-Type: TEXT/Plain; Charset=utf-8\r\n\r\ntwo\r\nlines\r\n--i\r\nContent-Type: text/html\r\n\r\n<p>\r\n--i--\r\n\
--o;\"b\r\nContent-Type: message/rfc822\r\n\r\nSubject: flat\r\n\r\nflat body\r\n--o;\"b--\r\nepilogue\r\n";

fn text<'a>(raw: &'a [u8], range: &std::ops::Range<usize>) -> &'a str {
    std::str::from_utf8(&raw[range.clone()]).unwrap()
}

#[test]
fn sections_are_found_as_the_standard_numbers_them() {
    let top = structure(NESTED, &limits());
    let body = |path: &[u32]| top.find(path).map(|p| text(NESTED, &p.body));
    assert_eq!(body(&[1]), Some("one"));
    assert_eq!(body(&[2, 1]), Some("two\r\nlines"));
    assert_eq!(body(&[2, 2]), Some("<p>"));
    assert_eq!(body(&[3, 1]), Some("flat body"));
    assert_eq!(body(&[3]), Some("Subject: flat\r\n\r\nflat body"));
    for wrong in [&[0][..], &[4], &[1, 1], &[2, 3], &[3, 2], &[2, 1, 1]] {
        assert_eq!(body(wrong), None, "{wrong:?}");
    }
    let inner = top.find_message(&[2]).unwrap();
    assert_eq!(text(NESTED, &inner.header), "Subject: in\r\nContent-Type: multipart/alternative; boundary=i\r\n\r\n");
    assert!(top.find_message(&[1]).is_none());
    assert_eq!(top.find(&[2, 1]).unwrap().line_count, 1);
    assert_eq!((top.find(&[2, 1]).unwrap().subtype.as_str(), top.media_type.as_str()), ("plain", "multipart"));
    assert!(text(NESTED, &top.body).ends_with("epilogue\r\n"), "the epilogue belongs to the multipart");
}

#[test]
fn a_message_without_parts_is_its_own_part_1() {
    let raw = b"Subject: x\r\n\r\nbody\r\n";
    let top = structure(raw, &limits());
    assert_eq!(top.find(&[1]), Some(&top));
    assert_eq!(top.find(&[1, 1]), None);
    assert_eq!((&raw[top.header.clone()], &raw[top.body.clone()]), (&b"Subject: x\r\n\r\n"[..], &b"body\r\n"[..]));
}

#[test]
fn what_cannot_be_opened_is_described_as_text_or_bytes() {
    let kind = |raw: &[u8]| {
        let top = structure(raw, &limits());
        format!("{}/{}", top.media_type, top.subtype)
    };
    assert_eq!(kind(b"Content-Type: multipart/mixed\r\n\r\n--x\r\n"), "text/plain");
    assert_eq!(kind(b"Content-Type: nonsense\r\n\r\n"), "text/plain");
    assert_eq!(kind(b"Content-Type: text/html charset=utf-8\r\n\r\n"), "text/html");
    assert_eq!(kind(b""), "text/plain");
    let empty = structure(b"Content-Type: multipart/mixed; boundary=x\r\n\r\nno part\r\n", &limits());
    assert!(matches!(&empty.inside, Inside::Parts(parts) if parts.len() == 1 && parts[0].body.is_empty()));
    let digest = structure(
        b"Content-Type: multipart/digest; boundary=x\r\n\r\n--x\r\n\r\nSubject: d\r\n\r\nb\r\n--x--\r\n",
        &limits(),
    );
    assert_eq!(digest.find(&[1]).unwrap().subtype, "rfc822");
    assert!(digest.find_message(&[1]).is_some());
}

#[test]
fn depth_and_parts_are_bounded() {
    let mut deep = Vec::new();
    for i in 0..200 {
        deep.extend_from_slice(format!("Content-Type: multipart/mixed; boundary=b{i}\r\n\r\n--b{i}\r\n").as_bytes());
    }
    deep.extend_from_slice(&b"Content-Type: message/rfc822\r\n\r\n".repeat(500));
    structure(&deep, &limits());
    let wide =
        [b"Content-Type: multipart/mixed; boundary=b\r\n\r\n".to_vec(), b"--b\r\n\r\nx\r\n".repeat(10_000)].concat();
    let top = structure(&wide, &limits());
    assert!(matches!(&top.inside, Inside::Parts(parts) if parts.len() <= limits().parts_max));
}

#[test]
fn parameters_are_unquoted_not_decoded() {
    let p = parameters(
        b" text/plain (a comment; here);\r\n name=\"a; \\\"b\\\"\"; charset = utf-8 ;x*=utf-8''%41; broken; =no\r\n",
    );
    assert_eq!(p.value, b"text/plain");
    let all: Vec<(&str, &str)> =
        p.parameters.iter().map(|(n, v)| (std::str::from_utf8(n).unwrap(), std::str::from_utf8(v).unwrap())).collect();
    assert_eq!(all, [("name", "a; \"b\""), ("charset", "utf-8"), ("x*", "utf-8''%41")]);
}

fn shown(value: &str) -> Vec<String> {
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    addresses(value.as_bytes())
        .iter()
        .map(|item| match item {
            AddressItem::Mailbox { name, route, local, domain } => format!(
                "{}|{}|{}|{}",
                name.as_deref().map_or("-".into(), text),
                route.as_deref().map_or("-".into(), text),
                text(local),
                domain.as_deref().map_or("-".into(), text)
            ),
            AddressItem::GroupStart(name) => format!("{}:", text(name)),
            AddressItem::GroupEnd => ";".into(),
        })
        .collect()
}

#[test]
fn address_lists() {
    let check = |value: &str, expect: &[&str]| assert_eq!(shown(value), expect, "{value:?}");
    check("ada@x.example", &["-|-|ada|x.example"]);
    check("Ada Lovelace <ada@x.example>, bob@y", &["Ada Lovelace|-|ada|x.example", "-|-|bob|y"]);
    check("\"L, Ada\" <\"a b\"@x> (c), c@d (Cee Dee)", &["L, Ada|-|a b|x", "Cee Dee|-|c|d"]);
    check("=?utf-8?q?B=C3=BC?= =?utf-8?q?cher?= <b@x>", &["=?utf-8?q?B=C3=BC?= =?utf-8?q?cher?=|-|b|x"]);
    check("Team: a@x, B <b@y>;, c@z", &["Team:", "-|-|a|x", "B|-|b|y", ";", "-|-|c|z"]);
    check("undisclosed-recipients:;", &["undisclosed-recipients:", ";"]);
    check("<@a,@b:c@d>", &["-|@a,@b|c|d"]);
    check("a@[IPv6:::1], ,", &["-|-|a|[IPv6:::1]"]);
    check("MAILER-DAEMON", &["-|-|MAILER-DAEMON|-"]);
    check("<>", &["-|-||-"]);
    check("\"unclosed <a@b>", &["-|-|unclosed <a@b>|-"]);
    check("Group: a@x", &["Group:", "-|-|a|x", ";"]);
    check("", &[]);
}

#[test]
fn fields_are_picked_as_they_stand() {
    let header = b"A: 1\r\n folded\r\nb : 2\r\nA: 3\r\n\r\n";
    assert_eq!(pick_fields(header, |n| n.eq_ignore_ascii_case(b"a")), b"A: 1\r\n folded\r\nA: 3\r\n");
    assert_eq!(pick_fields(header, |n| !n.eq_ignore_ascii_case(b"a")), b"b : 2\r\n");
    assert_eq!(field_value(header, "a").as_deref(), Some(&b"1 folded"[..]));
    assert_eq!(decoded_field(b"=?iso-8859-1?q?caf=E9?= x"), "caf\u{e9} x");
}
