"""Inbound, full pipeline: 8 KB HTML mail over 20 connections, a new connection for each mail, every 250 durable; judged
with SPF and DMARC asked of a name server that answers at once, and landed in one of 20 mailboxes. Timed from the first
connection until the last mail lies in its mailbox."""
import time

import load
from landfall import DOMAIN, Landfall, settle, wait_until
from peers import dovecot, nsd, postfix, rspamd
from process import Stage

PEER = "Postfix + rspamd + Dovecot"
TARGET = 10
CONNECTIONS = 20
PEER_COUNT = 2_000
COUNT = 20_000


def user(n):
    """The recipient of connection n."""
    return f"user{n}@{DOMAIN}"


def records():
    """What the senders publish."""
    return nsd.records_of("sender.example") + nsd.records_of(DOMAIN)


def timed(send, landed, count):
    """Seconds from the first connection until everything has landed."""
    start = time.monotonic()
    send().wait()
    answered = time.monotonic() - start
    wait_until(f"{count} mails landed", lambda: landed() >= count, 600)
    return time.monotonic() - start, answered


def peer(notes, connections=CONNECTIONS, count=PEER_COUNT, mails=None):
    """Postfix asks rspamd by milter and hands over to Dovecot by LMTP."""
    with Stage() as stage:
        files = [stage.write(f"{n}.eml", mail) for n, mail in enumerate(mails or [load.html_mail()])]
        milter = rspamd.start(stage, nsd.start(stage, records()))
        lmtp = dovecot.start(stage)
        port = postfix.start(stage, "postfix", {
            "virtual_mailbox_domains": DOMAIN,
            "virtual_transport": f"lmtp:inet:127.0.0.1:{lmtp}",
            "smtpd_milters": f"inet:127.0.0.1:{milter}",
            "milter_default_action": "tempfail",
            "milter_protocol": "6",
            "virtual_destination_concurrency_limit": "20",
            "lmtp_destination_concurrency_limit": "20",
        })
        warm = load.Source(stage, port, files, 100, connections, user)
        warm.wait()
        wait_until("warm-up landed", lambda: dovecot.landed(stage) >= 100)
        settle()
        send = lambda: load.Source(stage, port, files, count, connections, user)
        took, answered = timed(send, lambda: dovecot.landed(stage) - 100, count)
        notes.append(f"peer: {count} mails, all answered after {answered:.1f} s, landed after {took:.1f} s")
        return count / took


def landfall(notes, connections=CONNECTIONS, count=COUNT, mails=None):
    """Landfall alone."""
    with Stage() as stage:
        files = [stage.write(f"{n}.eml", mail) for n, mail in enumerate(mails or [load.html_mail()])]
        dns = nsd.start(stage, records())
        server = Landfall(stage, {}, dns=f"127.0.0.1:{dns}")
        server.add_people([user(n) for n in range(connections)])
        load.Source(stage, server.smtp, files, 400, connections, user).wait()
        wait_until("warm-up landed", lambda: server.in_inboxes() >= 400)
        settle()
        cpu = server.cpu_seconds()
        send = lambda: load.Source(stage, server.smtp, files, count, connections, user)
        took, answered = timed(send, lambda: server.in_inboxes() - 400, count)
        cpu = server.cpu_seconds() - cpu
        held = server.one("SELECT COUNT(*) FROM quarantine_item")
        notes.append(f"Landfall: {count} mails, all answered after {answered:.1f} s, landed after {took:.1f} s, {held} held, "
                     f"{cpu * 1000 / count:.2f} ms of processor a mail, peak memory {server.peak_memory_mb()} MB")
        return count / took
