//! The PROXY header, versions 1 and 2: no panic, bounded, and not a byte of the client's is taken.

#![no_main]

#[path = "../../crates/smtp/src/server/proxy.rs"]
mod proxy;

use libfuzzer_sys::fuzz_target;

/// A version 2 header takes 16 bytes and what it announces, at most 4,096.
const HEADER_BYTES_MAX: usize = 16 + 4_096;

fuzz_target!(|input: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut rest = input;
    let read = runtime.block_on(proxy::read_header(&mut rest));
    let used_bytes = input.len() - rest.len();
    assert!(used_bytes <= HEADER_BYTES_MAX, "{used_bytes} bytes are no header");
    if read.is_err() {
        return;
    }
    // The same header with a client's words behind it leaves exactly these.
    let words = b"EHLO client.example\r\n";
    let followed = [&input[..used_bytes], words].concat();
    let mut rest = followed.as_slice();
    let again = runtime.block_on(proxy::read_header(&mut rest)).expect("the same header");
    assert_eq!((again, rest), (read.expect("checked above"), &words[..]));
    if let Ok(text) = std::str::from_utf8(input) {
        let _ = text.parse::<proxy::Network>().map(|network| network.contains([192, 0, 2, 1].into()));
    }
});
