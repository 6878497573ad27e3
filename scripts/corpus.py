#!/usr/bin/env python3
"""Real mail, good and bad: 6,046 messages of the SpamAssassin public corpus.

  corpus.py prepare DATA OUT   writes OUT/mail/*.eml (CRLF, without the mbox line) and OUT/expected.jsonl: the leaves of
                               each message as Python's `email` reads them, with their text
  corpus.py send OUT BINARY    sends all of them by SMTP into the running binary and counts the replies
"""
import collections
import email
import email.policy
import json
import pathlib
import re
import smtplib
import subprocess
import sys
import tempfile
import threading
import time

CONNECTIONS = 8
STARTED_S = 60
# What the gateway may answer to the end of a body besides 250, and why (docs/standards.md).
REFUSALS = {"550 5.6.11": "a CR or LF that stands alone", "550 5.7.1": "a file that runs when opened (the Standard policy)"}

# What calls itself ISO-8859-1 is windows-1252, as in every browser (WHATWG Encoding Standard): no text has C1 controls.
WINDOWS_1252 = {n: bytes([n]).decode("cp1252") for n in range(0x80, 0xA0) if n not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)}


def canonical(raw: bytes) -> bytes:
    """The message as it came by SMTP: no mbox line, each line with its CRLF. A CR elsewhere than at a line's end stays."""
    if raw.startswith(b"From "):
        raw = raw.split(b"\n", 1)[1] if b"\n" in raw else b""
    lines = raw.split(b"\n")
    if lines and lines[-1] == b"":
        lines.pop()
    return b"".join(line.removesuffix(b"\r") + b"\r\n" for line in lines)


def leaves(message):
    """Parts that hold no part; a delivery status is one, though Python takes it apart."""
    if message.get_content_type() in ("message/delivery-status", "message/external-body", "message/partial"):
        yield message
    elif message.is_multipart():
        for part in message.get_payload():
            yield from leaves(part)
    else:
        yield message


def text_of(part):
    """The decoded text, or None where Python has no opinion: a charset it does not know, a transfer encoding that is none."""
    if part.get_content_maintype() != "text":
        return None
    try:
        return part.get_content().translate(WINDOWS_1252)
    except (LookupError, KeyError, ValueError, AssertionError):
        return None


def prepare(data: pathlib.Path, out: pathlib.Path):
    mail = out / "mail"
    mail.mkdir(parents=True, exist_ok=True)
    files = sorted(data.glob("*/*.txt"))
    with open(out / "expected.jsonl", "w", encoding="utf-8") as expected:
        for file in files:
            raw = canonical(file.read_bytes())
            name = f"{file.parent.name}-{file.stem}.eml"
            (mail / name).write_bytes(raw)
            found = email.message_from_bytes(raw, policy=email.policy.default)
            parts = []
            for part in leaves(found):
                text = text_of(part)
                text = None if text is None else text.encode("utf-8", "replace").decode("utf-8")
                defects = sorted({type(d).__name__ for d in part.defects})
                parts.append({"type": part.get_content_type(), "text": text, "defects": defects})
            defects = sorted({type(d).__name__ for p in found.walk() for d in p.defects})
            json.dump({"file": name, "parts": parts, "defects": defects}, expected)
            expected.write("\n")
    print(f"{len(files)} messages prepared")


class Replies:
    def __init__(self):
        self.lock = threading.Lock()
        self.counts = collections.Counter()
        self.unexpected = []

    def add(self, file, code, text):
        reply = "250" if code == 250 else f"{code} {text.decode(errors='replace').split(' ')[0]}"
        with self.lock:
            self.counts[reply] += 1
            if reply != "250" and reply not in REFUSALS:
                self.unexpected.append(f"{file.name}: {code} {text!r}")


def send_some(files, port, replies):
    session = smtplib.SMTP("127.0.0.1", port, local_hostname="mail.corpus.example", timeout=60)
    session.ehlo()
    for file in files:
        session.mail("sender@corpus.example")
        session.rcpt("postmaster@localhost")
        replies.add(file, *session.data(file.read_bytes()))
    session.quit()


def send(out: pathlib.Path, binary: str):
    files = sorted((out / "mail").glob("*.eml"))
    with tempfile.TemporaryDirectory(prefix="landfall-corpus.") as work:
        log = open(f"{work}/log", "wb+")
        listen = {"LANDFALL_SMTP_LISTEN": "127.0.0.1:0", "LANDFALL_HTTP_LISTEN": "127.0.0.1:0", "LANDFALL_DNS_SERVER": "none"}
        command = ["env", *(f"{k}={v}" for k, v in listen.items()), binary, "serve", "--data", f"{work}/data"]
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            port = wait_for_port(log.name, server)
            replies, started = Replies(), time.monotonic()
            threads = [threading.Thread(target=send_some, args=(files[n::CONNECTIONS], port, replies)) for n in range(CONNECTIONS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            spent = time.monotonic() - started
            alive = server.poll() is None
        finally:
            server.terminate()
            server.wait(30)
        said = pathlib.Path(log.name).read_text(errors="replace")
        print(f"{len(files)} messages sent in {spent:.1f} s: {dict(replies.counts)}")
        for reply, count in replies.counts.items():
            if reply in REFUSALS:
                print(f"  {reply}: {count}, {REFUSALS[reply]}")
        wrong = replies.unexpected[:20]
        if sum(replies.counts.values()) != len(files):
            wrong.append(f"only {sum(replies.counts.values())} of {len(files)} were answered")
        if not alive or server.returncode != 0:
            wrong.append(f"the server ended with {server.returncode}")
        if "panicked" in said:
            wrong += [line for line in said.splitlines() if "panicked" in line][:20]
        subprocess.run([binary, "verify", "--data", f"{work}/data"], check=True, stdout=subprocess.DEVNULL)
    if wrong:
        sys.exit("\n".join(wrong))


def wait_for_port(log, server):
    until = time.monotonic() + STARTED_S
    while time.monotonic() < until and server.poll() is None:
        found = re.search(r"^SMTP 127\.0\.0\.1:(\d+)", pathlib.Path(log).read_text(errors="replace"), re.M)
        if found:
            return int(found[1])
        time.sleep(0.1)
    sys.exit(f"no server: {pathlib.Path(log).read_text(errors='replace')}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["prepare", data, out]:
            prepare(pathlib.Path(data), pathlib.Path(out))
        case ["send", out, binary]:
            send(pathlib.Path(out), binary)
        case _:
            sys.exit(__doc__)
