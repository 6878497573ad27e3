"""Mail programs against a running server: imaplib, imapclient and mutt read, flag, file and lose mail, and get it back.

Usage: imap_programs.py HTTP SMTP IMAP IMAPS LINK CERTIFICATE GOLDEN_DIR
"""

import base64
import email
import glob
import hashlib
import hmac
import http.client
import imaplib
import json
import os
import pty
import re
import smtplib
import ssl
import subprocess
import sys
import tempfile
import threading
import time

import imapclient

HTTP, SMTP, IMAP, IMAPS, LINK, CERTIFICATE, GOLDEN = sys.argv[1:8]
ADA, PASSWORD = "ada@example.org", "a long enough password"
WAIT_S = 60
imaplib._MAXLINE = 10_000_000


def place(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


def check(is_so, what):
    if not is_so:
        raise SystemExit(f"not so: {what}")


def until(ask, what):
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        found = ask()
        if found:
            return found
        time.sleep(0.05)
    raise SystemExit(f"{what} did not come")


class Api:
    def __init__(self, link):
        self.headers = {}
        token = link.rsplit("/", 1)[1]
        answer, headers = self.call("POST", "/session/link", {"token": token})
        self.headers = {"cookie": headers["set-cookie"].split(";")[0], "x-csrf-token": answer["csrf"]}

    def call(self, method, path, body=None, kind="application/json"):
        connection = http.client.HTTPConnection(*place(HTTP), timeout=WAIT_S)
        raw = body.encode() if isinstance(body, str) else json.dumps(body).encode() if body is not None else None
        connection.request(method, "/api/v1" + path, raw, {**self.headers, "content-type": kind})
        response = connection.getresponse()
        text = response.read()
        check(200 <= response.status < 300, f"{method} {path}: {response.status} {text[:500]}")
        return (json.loads(text) if text else None), response.headers

    def get(self, path):
        return self.call("GET", path)[0]

    def post(self, path, body=None):
        return self.call("POST", path, body or {})[0]


def send(subject, text):
    with smtplib.SMTP(*place(SMTP), local_hostname="client.example", timeout=WAIT_S) as smtp:
        raw = f"From: Eve <eve@client.example>\r\nTo: {ADA}\r\nSubject: {subject}\r\nMessage-ID: <{subject}@client.example>\r\n" \
              f"Date: Mon, 2 Feb 2026 10:00:00 +0000\r\n\r\n{text}\r\n"
        smtp.sendmail("eve@client.example", [ADA], raw.encode())


def context():
    made = ssl.create_default_context(cafile=CERTIFICATE)
    made.check_hostname = False
    return made


def starttls():
    client = imaplib.IMAP4(*place(IMAP), timeout=WAIT_S)
    client.starttls(context())
    client.login(ADA, PASSWORD)
    return client


def with_imaplib():
    client = starttls()
    check(client.select("INBOX")[1] == [b"3"], "three mails in the inbox")
    found = client.search(None, "SUBJECT", '"bad"')[1][0].split()
    check(len(found) == 1, f"one has this subject: {found}")
    number = found[0].decode()
    raw = client.fetch(number, "(BODY.PEEK[])")[1][0][1]
    check(b"http://bad.example/" in raw and b"\r\nReceived: " in raw, raw)
    parsed = email.message_from_bytes(raw)
    check(parsed["Subject"] == "bad", parsed["Subject"])
    client.store(number, "+FLAGS", "(\\Seen \\Flagged $Work)")
    flags = client.fetch(number, "(UID FLAGS)")[1][0]
    check(all(word in flags for word in (b"\\Seen", b"\\Flagged", b"$Work")), flags)
    check(client.create('"Old mail"')[0] == "OK", "CREATE")
    check(client.copy("1", '"Old mail"')[0] == "OK", "COPY")
    check(client.append("Sent", "\\Seen", None, b"Subject: mine\n\nI sent this\n")[0] == "OK", "APPEND")
    check(client.select("Sent")[1] == [b"1"], "what was sent is there")
    check(b"I sent this\r\n" in client.fetch("1", "(RFC822)")[1][0][1], "and whole")
    check(client.close()[0] == "OK" and client.logout()[0] == "BYE", "LOGOUT")
    a_wrong_and_a_right_password()


def a_wrong_and_a_right_password():
    client = imaplib.IMAP4_SSL(*place(IMAPS), ssl_context=context(), timeout=WAIT_S)
    try:
        client.login(ADA, "wrong " + PASSWORD)
    except imaplib.IMAP4.error as error:
        check(b"AUTHENTICATIONFAILED" in error.args[0], error)
    else:
        check(False, "a wrong password opens nothing")
    client.authenticate("PLAIN", lambda _: f"\0{ADA}\0{PASSWORD}".encode())
    client.logout()


class Scram:
    """The client's side of SCRAM-SHA-256 (RFC 7677), as imaplib and imapclient ask for it."""

    def __init__(self, login, password):
        self.bare, self.password, self.signature = f"n={login},r=clientnonce", password, None

    def __call__(self, challenge):
        said = challenge.decode()
        if said == "":
            return f"n,,{self.bare}".encode()
        values = dict(part.split("=", 1) for part in said.split(","))
        if "v" in values:
            check(base64.b64decode(values["v"]) == self.signature, "the server knows the password too")
            return b""
        sha = lambda key, text: hmac.digest(key, text, "sha256")
        salted = hashlib.pbkdf2_hmac("sha256", self.password.encode(), base64.b64decode(values["s"]), int(values["i"]))
        last = f"c=biws,r={values['r']}"
        message = f"{self.bare},{said},{last}".encode()
        key = sha(salted, b"Client Key")
        proof = bytes(a ^ b for a, b in zip(key, sha(hashlib.sha256(key).digest(), message)))
        self.signature = sha(sha(salted, b"Server Key"), message)
        return f"{last},p={base64.b64encode(proof).decode()}".encode()


def with_scram():
    client = imaplib.IMAP4_SSL(*place(IMAPS), ssl_context=context(), timeout=WAIT_S)
    check("AUTH=SCRAM-SHA-256" in client.capabilities, client.capabilities)
    check("IDLE" in client.capabilities, "newer versions of imaplib ask only once, and before the login")
    check(client.authenticate("SCRAM-SHA-256", Scram(ADA, PASSWORD))[0] == "OK", "SCRAM by imaplib")
    check(client.select("INBOX", readonly=True)[0] == "OK", "the mailbox is open")
    client.logout()
    client = imaplib.IMAP4_SSL(*place(IMAPS), ssl_context=context(), timeout=WAIT_S)
    try:
        client.authenticate("SCRAM-SHA-256", Scram(ADA, "not " + PASSWORD))
    except imaplib.IMAP4.error as error:
        check("AUTHENTICATIONFAILED" in str(error), error)
    else:
        check(False, "a wrong password proves nothing")
    host, port = place(IMAPS)
    with imapclient.IMAPClient(host, port=port, ssl=True, ssl_context=context(), timeout=WAIT_S) as client:
        client.sasl_login("SCRAM-SHA-256", Scram(ADA, PASSWORD))
        check(client.select_folder("INBOX", readonly=True)[b"EXISTS"] >= 1, "SCRAM by imapclient")


def change(api):
    proposal = {"kind": "feed", "feed": "hosts", "feed_kind": "url_host", "class": "phish", "add": "bad.example\n"}
    made = api.post("/changes", {"proposal": proposal, "reason": "seen"})["id"]
    api.post(f"/changes/{made}/backtest")
    until(lambda: api.get(f"/changes/{made}")["change"]["state"] == "backtested", "the backtest")
    api.post(f"/changes/{made}/activate", {"override_reason": "we know"})
    return made


def with_imapclient(api):
    """Mail vanishes by a change while a program waits in IDLE, and comes back with a new UID."""
    host, port = place(IMAPS)
    with imapclient.IMAPClient(host, port=port, ssl=True, ssl_context=context(), timeout=WAIT_S) as client:
        client.login(ADA, PASSWORD)
        for word in (b"IDLE", b"MOVE", b"UIDPLUS", b"SPECIAL-USE", b"LITERAL+"):
            check(client.has_capability(word.decode()), word)
        uses = {name: flags for flags, _, name in client.list_folders()}
        check(b"\\Junk" in uses["Junk"] and "Old mail" in uses, uses)
        for use in ("Drafts", "Sent", "Junk", "Trash", "Archive"):
            check(client.find_special_folder(b"\\" + use.encode()) == use, f"{use} is found by its use")
        client.select_folder("INBOX")
        [bad] = client.search(["SUBJECT", "bad"])
        before = client.fetch([bad], ["FLAGS", "INTERNALDATE", "ENVELOPE", "RFC822.SIZE"])[bad]
        check(before[b"ENVELOPE"].subject == b"bad", before)
        [number] = [n for n, uid in enumerate(client.search(), 1) if uid == bad]
        client.idle()
        undone = change(api)
        seen = wait_idle(client, lambda said: (number, b"EXPUNGE") in said)
        api.post(f"/changes/{undone}/undo", {"reason": "it was ours"})
        seen = wait_idle(client, lambda said: (3, b"EXISTS") in said)
        client.idle_done()
        [back] = client.search(["SUBJECT", "bad"])
        check(back > bad, f"a new uid: {bad} {back} {seen}")
        after = client.fetch([back], ["FLAGS", "INTERNALDATE", "RFC822.SIZE"])[back]
        own = lambda flags: sorted(set(flags) - {b"\\Recent"})
        check(own(after[b"FLAGS"]) == own(before[b"FLAGS"]), (before, after))
        check(b"$Work" in after[b"FLAGS"], after)
        check(after[b"INTERNALDATE"] == before[b"INTERNALDATE"], (before, after))
        # An owner moves and deletes, and the ledger knows.
        client.create_folder("Entwürfe/日本")
        client.move([back], "Entwürfe/日本")
        until(lambda: place_of(api, "bad") == "other_folder", "the place after MOVE")
        client.select_folder("Entwürfe/日本")
        client.delete_messages(client.search())
        client.expunge()
        until(lambda: place_of(api, "bad") == "deleted", "the place after EXPUNGE")
        client.logout()


def wait_idle(client, holds):
    said = []
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        said += [answer[:2] for answer in client.idle_check(timeout=5)]
        if holds(said):
            return said
    raise SystemExit(f"IDLE did not say it: {said}")


def place_of(api, subject):
    copies = api.get(f"/trace?limit=200&recipient={ADA}")["items"]
    [copy] = [copy for copy in copies if copy["subject"] == subject]
    return copy["place"]


def mutt(folder, settings, keys, authenticators="scram-sha-256"):
    """mutt in a terminal types these keys and leaves; gives its screen. It logs in by SCRAM (GNU SASL) or not at all."""
    host, port = place(IMAPS)
    rc = os.path.join(folder, "muttrc")
    with open(rc, "w") as out:
        out.write(f"""set imap_user="{ADA}"
set imap_pass="{PASSWORD}"
set imap_authenticators="{authenticators}"
set certificate_file="{folder}/certificates"
set ssl_ca_certificates_file="{CERTIFICATE}"
set ssl_verify_host=no
set ssl_force_tls=yes
set folder="imaps://{host}:{port}/"
set header_cache=""
set wait_key=no
set quit=yes
set mark_old=no
set confirmappend=no
set move=no
{settings}
push "{keys}"
""")
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        os.environ["HOME"] = folder
        os.execvp("mutt", ["mutt", "-n", "-F", rc, "-f", f"imaps://{host}:{port}/INBOX"])
    screen = bytearray()

    def drain():
        try:
            while chunk := os.read(terminal, 4096):
                screen.extend(chunk)
        except OSError:
            return

    threading.Thread(target=drain, daemon=True).start()
    end = time.monotonic() + WAIT_S
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        if time.monotonic() > end:
            os.kill(pid, 9)
            raise SystemExit(f"mutt did not end: {bytes(screen[-3000:])}")
        if b"(o)nce" in screen or b"accept" in screen[-400:]:
            os.write(terminal, b"o")
        time.sleep(0.1)
    return bytes(screen[-3000:])


def with_mutt(folder):
    """mutt shows a mail, writes it to a file and flags it; then it puts a draft aside."""
    kept = os.path.join(folder, "kept")
    screen = mutt(folder, "set pipe_decode=no",
                  f"<limit>~s plain<enter><display-message><exit><pipe-message>cat > {kept}<enter><flag-message><sync-mailbox><quit>")
    check(os.path.exists(kept), f"mutt read the mail: {screen}")
    check("only words" in open(kept).read(), open(kept).read())
    client = starttls()
    client.select("INBOX", readonly=True)
    flags = client.fetch(client.search(None, "SUBJECT", "plain")[1][0].decode(), "(FLAGS)")[1][0]
    check(b"\\Flagged" in flags and b"\\Seen" in flags, f"mutt flagged it: {flags}")
    editor = os.path.join(folder, "editor")
    with open(editor, "w") as out:
        out.write('#!/bin/sh\necho "not yet" >> "$1"\n')
    os.chmod(editor, 0o700)
    screen = mutt(folder, f'set editor="{editor}"\nset postponed="=Drafts"\nset copy=no',
                  "<mail>bob@example.org<enter>A draft<enter><postpone-message><quit>")
    check(client.select("Drafts", readonly=True)[1] == [b"1"], f"mutt's draft is there: {screen}")
    found = client.fetch("1", "(FLAGS BODY.PEEK[])")[1][0]
    check(b"Subject: A draft" in found[1] and b"not yet" in found[1], found)
    client.logout()


def synchronises_by_modseq():
    """Two programs on one folder: the second learns of the first one's changes by their mod-sequences."""
    host, port = place(IMAPS)
    clients = [imapclient.IMAPClient(host, port=port, ssl=True, ssl_context=context(), timeout=WAIT_S) for _ in range(2)]
    first, second = clients
    for client in clients:
        client.login(ADA, PASSWORD)
    known = second.select_folder("INBOX")[b"HIGHESTMODSEQ"]
    known = known[0] if isinstance(known, (list, tuple)) else known
    first.select_folder("INBOX")
    uid = first.search()[0]
    first.add_flags([uid], ["$Mine"])
    second.noop()
    changed = second.fetch(second.search(), ["FLAGS"], [f"CHANGEDSINCE {known}"])
    check(list(changed) == [uid] and b"$Mine" in changed[uid][b"FLAGS"], changed)
    check(changed[uid][b"MODSEQ"][0] > known, changed)
    first.remove_flags([uid], ["$Mine"])
    for client in clients:
        client.logout()


def is_counted():
    """What was done stands in the metrics."""
    connection = http.client.HTTPConnection(*place(HTTP), timeout=WAIT_S)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    check(re.search(r"^landfall_imap_sessions \d+$", text, re.M), text)
    for name in ('connections_total{outcome="accepted"}', 'logins_total{outcome="ok"}', 'logins_total{outcome="failed"}',
                 'commands_total{answer="ok"}', 'commands_total{answer="no"}'):
        found = re.search(rf"^landfall_imap_{re.escape(name)} (\d+)$", text, re.M)
        check(found and int(found[1]) > 0, f"{name} is counted: {text}")


def leaves(part, path=()):
    """(section numbers, part) of Python's leaves, numbered as RFC 3501 6.4.5 does."""
    if part.get_content_maintype() == "multipart" and part.is_multipart():
        return [leaf for n, inner in enumerate(part.get_payload(), 1) for leaf in leaves(inner, path + (n,))]
    if part.get_content_type() == "message/rfc822" and part.is_multipart():
        inner = part.get_payload(0)
        return leaves(inner, path if inner.get_content_maintype() == "multipart" and inner.is_multipart() else path + (1,))
    return [(path, part)]


def structure_agrees():
    """Parts, their types and their bytes agree with Python's email parser, where it finds nothing wrong."""
    host, port = place(IMAPS)
    compared = 0
    with imapclient.IMAPClient(host, port=port, ssl=True, ssl_context=context(), timeout=WAIT_S) as client:
        client.login(ADA, PASSWORD)
        client.create_folder("Golden")
        client.select_folder("Golden")
        for file in sorted(glob.glob(os.path.join(GOLDEN, "*.eml"))):
            raw = re.sub(rb"\r?\n", b"\r\n", open(file, "rb").read())
            if not raw or b"\0" in raw:
                continue
            client.append("Golden", raw)
            client.noop()
            uid = client.search()[-1]
            whole = client.fetch([uid], ["BODY.PEEK[]", "BODYSTRUCTURE", "ENVELOPE"])[uid]
            check(whole[b"BODY[]"] == raw, f"{file}: as it was put in")
            message = email.message_from_bytes(raw)
            if any(part.defects for part in message.walk()):
                continue
            for path, part in leaves(message):
                section = ".".join(map(str, path or (1,)))
                got = client.fetch([uid], [f"BODY.PEEK[{section}]"])[uid][f"BODY[{section}]".encode()]
                payload = part._payload if isinstance(part._payload, str) else ""  # get_payload() would decode it
                expected = payload.encode("ascii", "surrogateescape")
                check(got == expected, f"{file} {section}: {got!r} is not {expected!r}")
                compared += 1
        client.logout()
    check(compared >= 10, f"too few parts were compared: {compared}")


def main():
    api = Api(LINK)
    api.call("POST", "/people/import?list=Everyone", f"address,name\n{ADA},Ada\n", "text/csv")
    person = api.get(f"/people?query={ADA}")["items"][0]["id"]
    api.post("/accounts", {"login": ADA, "name": "Ada", "role": "recipient", "person_id": person, "password": PASSWORD})
    send("plain", "only words")
    send("bad", "look at http://bad.example/x now")
    send("third", "more words")
    with_imaplib()
    with_scram()
    with_imapclient(api)
    with tempfile.TemporaryDirectory() as folder:
        with_mutt(folder)
    synchronises_by_modseq()
    structure_agrees()
    is_counted()
    print("all of it")


main()
