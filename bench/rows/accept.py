"""Accepting alone, durably: 8 KB HTML mail over 20 connections, a new connection for each mail; timed until the last 250.
Postfix writes it to its queue and throws it away behind the queue (transport `discard`). Landfall is told to accept without
judging (`landfall bypass on`): it writes mail, envelope and recipients to its incoming queue, synced and committed, before its 250,
and enters them into mailboxes behind it, as fast as arriving mail leaves room for; how long that takes is told."""
import time

import load
from landfall import DOMAIN, Landfall, settle, wait_until
from peers import nsd, postfix
from process import Stage
from rows.inbound import CONNECTIONS, records, user

PEER = "Postfix"
TARGET = 5
COUNT = 20_000


def timed(stage, port, file, count, kept):
    """Mails a second until the last 250."""
    load.Source(stage, port, [file], 400, CONNECTIONS, user, kept=kept).wait()
    settle()
    start = time.monotonic()
    load.Source(stage, port, [file], count, CONNECTIONS, user, kept=kept).wait()
    return count / (time.monotonic() - start)


def peer(notes, kept=False):
    """Postfix; its queue is drained by `discard` meanwhile, as fast as it can."""
    with Stage() as stage:
        file = stage.write("mail.eml", load.html_mail())
        port = postfix.start(stage, "postfix", {"virtual_mailbox_domains": DOMAIN, "virtual_transport": "discard:"})
        return timed(stage, port, file, COUNT // 2, kept)


def ceiling(kept=False):
    """The generator against a sink that stores nothing."""
    with Stage() as stage:
        sink = load.Sink(stage, "sink")
        return timed(stage, sink.port, stage.write("mail.eml", load.html_mail()), COUNT, kept)


def landfall(notes, kept=False):
    """Landfall with the bypass on."""
    with Stage() as stage:
        file = stage.write("mail.eml", load.html_mail())
        server = Landfall(stage, {}, dns=f"127.0.0.1:{nsd.start(stage, records())}")
        server.add_people([user(n) for n in range(CONNECTIONS)])
        server.command("bypass", "on", "--for", "30m", "--reason", "bench")
        cpu = server.cpu_seconds()
        rate = timed(stage, server.smtp, file, COUNT, kept)
        cpu = server.cpu_seconds() - cpu
        stored, start = server.in_inboxes(), time.monotonic()
        waiting = server.one("SELECT COUNT(*) FROM incoming")
        wait_until("all in mailboxes", lambda: server.in_inboxes() >= COUNT + 400, 600)
        took = time.monotonic() - start
        notes.append(f"Landfall: {cpu * 1000 / (COUNT + 400):.2f} ms of processor a mail until the last 250; then {stored} were "
                     f"in mailboxes and {waiting} in the queue, which took {took:.1f} s; peak memory {server.peak_memory_mb()} MB")
        return rate
