#!/usr/bin/env python3
"""Kills the real binary with SIGKILL at random instants while mail comes in over twenty pipelining connections, in part
with a campaign going out, with changes being put in force (purge) and undone (restore) at the same time, or with judging switched
off. Every mail that was answered 250 must be in a mailbox, in the quarantine or in the incoming queue exactly once after the next
start, a campaign's copies as well, and `landfall verify` must find every body and every copy in order. test-kills-inbound.py KILLS [SEED]"""
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

KILLS = int(sys.argv[1])
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time())
CONNECTIONS = 20
PEOPLE = 40
KILLS_PER_DATA = 10
LOAD_S = (0.02, 1.5)
STARTING_S = (0.0, 0.25)  # a kill of a server that has not come up yet
RECOVERY_S = 1.0
SETTLE_S = 120
STEP_S = 60
TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.expanduser("~/.cache/landfall-target"))
BINARY = os.path.join(TARGET, "demo", "landfall")
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("LANDFALL_")}
ENVIRONMENT.update(
    LANDFALL_SERVER_HOSTNAME="mx.example", LANDFALL_ORGANISATION_DOMAINS="example.org", LANDFALL_DNS_SERVER="none",
    LANDFALL_SMTP_LISTEN="127.0.0.1:0", LANDFALL_HTTP_LISTEN="127.0.0.1:0", LANDFALL_LOG_LEVEL="warn",
)
MODES = ["inbound", "bypass", "changes", "changes", "campaign"]


def person(n):
    return f"p{n:03}@example.org"


class Server:
    """A running process; `start_s` is how long it took until SMTP greeted."""

    def __init__(self, data, wait=True):
        began = time.monotonic()
        self.log = open(os.path.join(os.path.dirname(data), "log"), "a")
        self.process = subprocess.Popen([BINARY, "serve", "--data", data], env=ENVIRONMENT, text=True,
                                        stdout=subprocess.PIPE, stderr=self.log)
        self.smtp = self.http = self.link = None
        if not wait:
            return
        for line in self.process.stdout:
            if line.startswith("SMTP "):
                self.smtp = address(line.split()[1])
            if line.startswith("Console http://"):
                self.http = line.split()[1]
            if line.startswith("First run: "):
                self.link = line.split()[-1]
            if self.smtp and self.http:
                break
        else:
            raise SystemExit("the server does not come up: " + open(self.log.name).read()[-2000:])
        Connection(self.smtp).close()
        self.start_s = time.monotonic() - began

    def kill(self):
        alive = self.process.poll() is None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=STEP_S)
        self.process.stdout.close()
        self.log.close()
        return alive

    def first_link(self):
        for line in self.process.stdout:
            if line.startswith("First run: "):
                return line.split()[-1]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=STEP_S)
        self.process.stdout.close()
        self.log.close()
        if self.process.returncode != 0:
            raise SystemExit(f"the server ended with {self.process.returncode}")


def address(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


class Connection:
    def __init__(self, where):
        self.socket = socket.create_connection(where, timeout=STEP_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = self.socket.makefile("rb")
        self.reply("220")

    def reply(self, wanted=None):
        while True:
            line = self.stream.readline()
            if not line:
                raise ConnectionError("closed")
            if line[3:4] != b"-":
                break
        text = line.decode("ascii", "replace").strip()
        if wanted and not text.startswith(wanted):
            raise ConnectionError(text)
        return text

    def write(self, text):
        self.socket.sendall(text.encode())

    def close(self):
        self.stream.close()
        self.socket.close()


class Load:
    """What clients sent: acknowledged (id, recipient) pairs, and those that nobody answered."""

    def __init__(self):
        self.lock = threading.Lock()
        self.acknowledged, self.unclear = set(), set()
        self.refused = 0

    def client(self, where, name, chance, stop):
        try:
            connection = Connection(where)
            connection.write("EHLO client.example\r\n")
            connection.reply("250")
        except OSError:
            return
        n = 0
        while not stop.is_set():
            n += 1
            mail_id = f"<{name}.{n}@client.example>"
            to = [person(i) for i in chance.sample(range(PEOPLE), chance.choice([1, 1, 1, 3]))]
            pairs = {(mail_id, recipient) for recipient in to}
            with self.lock:
                self.unclear |= pairs
            try:
                paths = "".join(f"RCPT TO:<{recipient}>\r\n" for recipient in to)
                connection.write(f"MAIL FROM:<zoe@client.example>\r\n{paths}DATA\r\n")
                connection.reply("250")
                for _ in to:
                    connection.reply("250")
                connection.reply("354")
                connection.write(mail(mail_id, chance))
                answer = connection.reply()
            except OSError:
                return
            with self.lock:
                self.unclear -= pairs
                if answer.startswith("250"):
                    self.acknowledged |= pairs
                else:
                    self.refused += 1


def mail(mail_id, chance):
    host = "bad.example" if chance.random() < 0.5 else "good.example"
    size = chance.choice([200, 2_000, 8_000, 60_000])
    text = "".join(f"This is line {i} of some text that nobody reads.\r\n" for i in range(size // 50))
    return (f"From: Zoe <zoe@client.example>\r\nTo: people@example.org\r\nSubject: Mail {mail_id}\r\n"
            f"Message-ID: {mail_id}\r\nDate: Mon, 05 Jan 2026 09:00:00 +0000\r\n\r\n"
            f"See http://{host}/page\r\n{text}.\r\n")


class Api:
    def __init__(self, base, token=None):
        self.base, self.token = base + "/api/v1", token

    def call(self, method, path, body=None, kind="application/json", headers=None):
        raw = None if body is None else (body if isinstance(body, str) else json.dumps(body)).encode()
        request = urllib.request.Request(self.base + path, data=raw, method=method, headers=headers or {})
        request.add_header("content-type", kind)
        if self.token:
            request.add_header("authorization", "Bearer " + self.token)
        try:
            with urllib.request.urlopen(request, timeout=STEP_S) as answer:
                text = answer.read()
                return (json.loads(text) if text else None), answer.headers
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise RuntimeError(f"{method} {path}: {error.code} {error.read().decode()}") from error
            raise

    def get(self, path):
        return self.call("GET", path)[0]

    def post(self, path, body=None):
        return self.call("POST", path, body if body is not None else {})[0]

    def sign_in(self, link):
        me, headers = self.call("POST", "/session/link", {"token": link.rsplit("/", 1)[1]})
        own = {"cookie": headers["set-cookie"].split(";")[0], "x-csrf-token": me["csrf"]}
        self.token = self.call("POST", "/tokens", {"name": "kills"}, headers=own)[0]["secret"]


def settled(ask, what):
    until = time.monotonic() + SETTLE_S
    while time.monotonic() < until:
        if ask():
            return
        time.sleep(0.05)
    raise SystemExit(f"{what} did not come within {SETTLE_S} s")


def changing(api, stop):
    """Puts a feed entry in force and undoes it, again and again: a purge and a restore each time."""
    proposal = {"kind": "feed", "feed": "kills", "feed_kind": "url_host", "class": "phish", "add": "bad.example\n"}
    try:
        undo_all(api)
        while not stop.is_set():
            change = api.post("/changes", {"proposal": proposal, "reason": "seen"})["id"]
            api.post(f"/changes/{change}/backtest")
            settled(lambda: api.get(f"/changes/{change}")["change"]["state"] == "backtested", "the backtest")
            api.post(f"/changes/{change}/activate", {"override_reason": "we know"})
            settled(lambda: stop.is_set() or jobs_done(api), "the purge")
            undo_all(api)
    except (OSError, ValueError, http.client.HTTPException):
        return  # it was killed


def undo_all(api):
    for change in api.get("/changes?limit=200&state=active")["items"]:
        api.post(f"/changes/{change['id']}/undo", {"reason": "ours"})


def jobs_done(api):
    return all(job["state"] in ("done", "failed") for job in api.get("/jobs?limit=200")["items"])


def campaigning(api, stop):
    try:
        lists = api.get("/lists")
        everyone = next(one["id"] for one in lists if one["name"] == "Everyone")
        while not stop.is_set():
            draft = {"name": "Kills", "subject": "Hello", "from_name": "News", "from_address": "news@example.org",
                     "content_type": "html", "content": "<p>Hello, this is what we wanted to tell you today.</p>",
                     "list_id": everyone, "tracking": "off", "click_tracking": False}
            made = api.post("/campaigns", draft)["id"]
            api.post(f"/campaigns/{made}/send")
            settled(lambda: stop.is_set() or api.get(f"/campaigns/{made}")["state"] == "sent", "the campaign")
    except (OSError, ValueError, http.client.HTTPException):
        return  # it was killed


def look(data, load):
    """What is wrong with the store, in words; the server may run."""
    rows = sqlite3.connect(f"file:{os.path.join(data, 'landfall.db')}?mode=ro", uri=True, timeout=30)
    rows.execute("BEGIN")  # a mail moves from the queue into mailboxes: one instant for both
    found = {}
    wrong = []
    sql = """SELECT m.message_id_header, c.recipient, c.campaign_id, c.place,
                    (SELECT COUNT(*) FROM mail_item i WHERE i.copy_id = c.id),
                    (SELECT COUNT(*) FROM quarantine_item q
                      WHERE q.copy_id = c.id AND q.status IN ('needs_review', 'requested', 'denied'))
             FROM copy c JOIN message m ON m.id = COALESCE(c.received_message_id, c.message_id)
             WHERE c.received_message_id IS NOT NULL"""
    for mail_id, recipient, campaign, place, items, held in rows.execute(sql):
        key = (campaign or mail_id.strip("<>"), recipient)
        found[key] = found.get(key, 0) + 1
        if (items, held) != ((0, 1) if place == "quarantine" else (1, 0)):
            wrong.append(f"{key} at {place}: {items} in mailboxes, {held} held")
    sql = "SELECT r.recipient, i.raw FROM incoming i JOIN incoming_recipient r ON r.incoming_id = i.id"
    for recipient, raw in rows.execute(sql):
        key = (re.search(rb"\r\nMessage-ID: <(.*?)>\r\n", raw).group(1).decode(), recipient)
        found[key] = found.get(key, 0) + 1
    rows.close()
    for mail_id, recipient in load.acknowledged:
        if (mail_id.strip("<>"), recipient) not in found:
            wrong.append(f"LOST {mail_id} {recipient}")
    wrong += [f"DOUBLE {key}: {count}" for key, count in found.items() if count > 1]
    return wrong


def settle(data, token, load):
    """Everything that was begun ends well, and verify agrees."""
    server = Server(data)
    api = Api(server.http, token)
    api.call("DELETE", "/bypass")
    settled(lambda: not any(api.get("/bypass")[count] for count in ("incoming_count", "unjudged_count")),
            "the end of the incoming queue and of late verdicts")
    undo_all(api)
    settled(lambda: jobs_done(api), "the end of the jobs")
    settled(lambda: all(c["state"] in ("sent", "draft") for c in api.get("/campaigns?limit=200")["items"]), "the campaigns")
    failed = [job for job in api.get("/jobs?limit=200")["items"] if job["state"] == "failed"]
    rows = sqlite3.connect(f"file:{os.path.join(data, 'landfall.db')}?mode=ro", uri=True, timeout=30)
    settled(lambda: rows.execute("SELECT COUNT(*) FROM delivery WHERE state IN ('due', 'leased')").fetchone()[0] == 0,
            "the end of the queue")
    campaigns = rows.execute("""SELECT campaign_id, COUNT(*), COUNT(DISTINCT recipient), COUNT(received_message_id)
                                FROM copy WHERE campaign_id IS NOT NULL GROUP BY campaign_id""").fetchall()
    moves = dict(rows.execute("""SELECT kind, COUNT(*) FROM event
                                 WHERE kind IN ('purged', 'restored', 'resend_suppressed') GROUP BY kind"""))
    rows.close()
    wrong = look(data, load) + [f"failed job {job}" for job in failed]
    wrong += [f"campaign {row}" for row in campaigns if set(row[1:]) != {PEOPLE + 1} and set(row[1:]) != {PEOPLE}]
    server.stop()
    verified = subprocess.run([BINARY, "verify", "--data", data], env=ENVIRONMENT, text=True, capture_output=True)
    if verified.returncode != 0:
        wrong.append("verify: " + verified.stderr)
    return wrong, len(campaigns), moves


def kill_once(data, token, load, chance, mode):
    """One start, some load, one kill. Gives (what is wrong, seconds of the start or None, words)."""
    if chance.random() < 0.1:
        server = Server(data, wait=False)
        after = chance.uniform(*STARTING_S)
        time.sleep(after)
        server.kill()
        return [], None, f"starting, after {after:.3f} s"
    server = Server(data)
    wrong = look(data, load)
    stop = threading.Event()
    name = f"{chance.getrandbits(40):010x}"
    threads = [threading.Thread(target=load.client, args=(server.smtp, f"{name}.{c}", random.Random(chance.random()), stop))
               for c in range(CONNECTIONS)]
    api = Api(server.http, token)
    if mode == "bypass":
        api.call("PUT", "/bypass", {"minutes": 5, "reason": "kills"})
    else:
        api.call("DELETE", "/bypass")
    if mode == "changes":
        threads.append(threading.Thread(target=changing, args=(api, stop)))
    if mode == "campaign":
        threads.append(threading.Thread(target=campaigning, args=(api, stop)))
    before = len(load.acknowledged)
    for thread in threads:
        thread.start()
    after = chance.uniform(*LOAD_S)
    time.sleep(after)
    alive = server.kill()
    stop.set()
    for thread in threads:
        thread.join(timeout=STEP_S)
    if not alive:
        wrong.append("the server had died before it was killed")
    return wrong, server.start_s, f"{mode}, after {after:.3f} s, {len(load.acknowledged) - before} acknowledged"


def main():
    print(f"seed {SEED}, {KILLS} kills, {CONNECTIONS} connections", flush=True)
    chance = random.Random(SEED)
    work = tempfile.mkdtemp(prefix="landfall-kills.")
    failed, starts, acknowledged, unclear, refused, campaigns, moves = 0, [], 0, 0, 0, 0, {}
    try:
        for first in range(1, KILLS + 1, KILLS_PER_DATA):
            data, load = os.path.join(work, str(first), "data"), Load()
            os.makedirs(os.path.dirname(data))
            server = Server(data)
            api = Api(server.http)
            api.sign_in(server.link or server.first_link())
            people = "".join(f"{person(n)},Person {n}\n" for n in range(PEOPLE))
            settings = api.get("/settings")
            settings["tracking"]["base_url"] = "http://t.example.org"
            api.call("PUT", "/settings", settings)
            api.call("POST", "/people/import?list=Everyone", "address,name\n" + people, kind="text/csv")
            server.stop()
            for n in range(first, min(first + KILLS_PER_DATA, KILLS + 1)):
                mode = MODES[n % len(MODES)]
                wrong, start_s, words = kill_once(data, api.token, load, chance, mode)
                failed += bool(wrong)
                starts += [start_s] if start_s else []
                state = "WRONG " + "; ".join(wrong[:5]) if wrong else "ok"
                print(f"kill {n:3} {words}" + (f", start {start_s:.3f} s" if start_s else "") + f": {state}", flush=True)
            wrong, sent, now = settle(data, api.token, load)
            failed += bool(wrong)
            campaigns += sent
            moves = {kind: moves.get(kind, 0) + now.get(kind, 0) for kind in moves | now}
            acknowledged += len(load.acknowledged)
            unclear += len(load.unclear)
            refused += load.refused
            print("  settled: " + ("WRONG " + "; ".join(wrong[:10]) if wrong else "ok"), flush=True)
            if not wrong:
                shutil.rmtree(os.path.dirname(data))
    finally:
        if failed:
            print(f"data kept in {work}")
        else:
            shutil.rmtree(work, ignore_errors=True)
    starts.sort()
    print(f"{acknowledged} copies acknowledged, {unclear} without an answer, {refused} mails put off; {campaigns} campaigns, "
          f"moves {moves}; start of SMTP: median {starts[len(starts) // 2]:.3f} s, longest {starts[-1]:.3f} s")
    slow = [s for s in starts if s > RECOVERY_S]
    if slow:
        print(f"{len(slow)} of {len(starts)} starts took longer than {RECOVERY_S} s")
    print(f"{KILLS} kills, {failed} findings")
    sys.exit(1 if failed else 0)


main()
