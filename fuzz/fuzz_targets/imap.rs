//! IMAP commands and folder names as clients may send them: no panic, always an end, and names go there and back.

#![no_main]
#![expect(dead_code, reason = "the session uses more of these modules than is driven here")]

#[path = "../../crates/imap/src/command.rs"]
mod command;
#[path = "../../crates/imap/src/criteria.rs"]
mod criteria;
#[path = "../../crates/imap/src/utf7.rs"]
mod utf7;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    match command::parse(input) {
        Ok(request) => {
            assert_eq!(command::tag_of(input).as_ref(), Some(&request.tag));
            assert!(input.starts_with(request.tag.as_bytes()), "the answer carries the command's tag");
        }
        Err(problem) => assert!(problem.tag.is_none_or(|tag| input.starts_with(tag.as_bytes()))),
    }
    if let Some(name) = utf7::decode(input) {
        assert_eq!(utf7::decode(utf7::encode(&name).as_bytes()).as_ref(), Some(&name), "written and read again");
    }
    if let Ok(name) = std::str::from_utf8(input) {
        let wire = utf7::encode(name);
        assert!(wire.is_ascii());
        assert_eq!(utf7::decode(wire.as_bytes()).as_deref(), Some(name), "every name can be written");
    }
});
