"""Campaign out as in `outbound`, where 2 % of the recipients are answered 450 and 1 % 550 at RCPT; timed until all others
are at the sink."""
import time

import load
from landfall import settle, wait_until
from process import Stage
from rows import outbound
from rows.outbound import COUNT

PEER, TARGET = outbound.PEER, None
LATER, NEVER = "later.example", "never.example"
ACCEPTED = COUNT * 97 // 100


def sinks(stage):
    """The sinks by domain."""
    return {outbound.OUT: load.Sink(stage, "sink"), LATER: load.Sink(stage, "later", "-r", "RCPT"),
            NEVER: load.Sink(stage, "never", "-f", "RCPT")}


def domain(n):
    """Whose mail n is."""
    return NEVER if n % 100 == 0 else LATER if n % 50 == 1 else outbound.OUT


def peer(notes):
    """Postfix relays; connection n of 100 has a recipient of its own."""
    with Stage() as stage:
        found = sinks(stage)
        port = outbound.relay(stage, {name: sink.port for name, sink in found.items()})
        file = stage.write("mail.eml", load.html_mail())
        settle()
        start = time.monotonic()
        load.Source(stage, port, [file], COUNT, 100, lambda n: f"p{n}@{domain(n)}")
        return outbound.until_received([found[outbound.OUT]], ACCEPTED, start)


def landfall(notes):
    """Landfall sends a campaign."""
    with Stage() as stage:
        found = sinks(stage)
        server = outbound.serve(stage, {name: sink.port for name, sink in found.items()})
        people = server.add_people([f"p{n}@{domain(n)}" for n in range(COUNT)], "All")
        send = outbound.campaign(server, people, "All")
        settle()
        start = time.monotonic()
        send()
        rate = outbound.until_received([found[outbound.OUT]], ACCEPTED, start)
        refused = "SELECT COUNT(*) FROM copy WHERE last_event = 'rejected'"
        wait_until("refusals", lambda: server.one(refused) == COUNT // 100)
        notes.append(f"Landfall: {server.one(refused)} rejected, "
                     f"{server.one('SELECT COUNT(*) FROM copy WHERE last_event = ' + repr('deferred'))} deferred")
        return rate
