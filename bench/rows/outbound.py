"""Campaign out to a sink that accepts everything (smtp-sink). Postfix gets finished mails of 8 KB by smtp-source and relays
them, unsigned. Landfall personalises each mail from one template, gives it tracked links and an unsubscribe link, signs it
with RSA-2048 and sends it. Timed from the first mail (or «send») until the sink has the last."""
import time

import load
from landfall import DOMAIN, Landfall, settle, wait_until
from peers import nsd, postfix
from process import Stage
from rows.inbound import records

PEER = "Postfix, unsigned"
TARGET = 2
COUNT = 10_000
OUT = "out.example"
HTML = """<html><body><p>Dear {{ name | default("colleague") }},</p>
%s
</body></html>"""


def content():
    """The HTML part of the mail that everybody sends."""
    body = load.html_mail(11_000).split("<html><body>")[1].split("</body>")[0]
    return HTML % body


def until_received(sinks, count, start):
    """Mails a second until the sinks have `count`."""
    wait_until(f"{count} mails at the sink", lambda: sum(sink.received() for sink in sinks) >= count, 600)
    return count / (time.monotonic() - start)


def relay(stage, routes):
    """Postfix with routes by domain; {domain: port}."""
    table = stage.write("transport", "".join(f"{domain} relay:[127.0.0.1]:{port}\n" for domain, port in routes.items()))
    return postfix.start(stage, "postfix", {
        "transport_maps": f"texthash:{table}",
        "default_destination_concurrency_limit": "20",
        "smtpd_relay_restrictions": "permit_mynetworks,reject",
    })


def peer(notes):
    """Postfix relays."""
    with Stage() as stage:
        sink = load.Sink(stage, "sink")
        port = relay(stage, {OUT: sink.port})
        file = stage.write("mail.eml", load.html_mail())
        load.Source(stage, port, [file], 200, 20, lambda n: f"p{n}@{OUT}").wait()
        wait_until("warm-up", lambda: sink.received() >= 200)
        settle()
        start = time.monotonic()
        load.Source(stage, port, [file], COUNT, 20, lambda n: f"p{n}@{OUT}")
        return until_received([sink], 200 + COUNT, start) * COUNT / (COUNT + 200)


def campaign(server, list_id, name):
    """Writes a campaign and sends it."""
    made = server.api.post("/campaigns", {
        "name": name, "subject": "News for {{ name }}", "from_name": "News", "from_address": f"news@{DOMAIN}",
        "content_type": "html", "content": content(), "list_id": list_id,
    })
    return lambda: server.api.post(f"/campaigns/{made['id']}/send", {})


def serve(stage, routes):
    """Landfall with static routes."""
    dns = nsd.start(stage, records())
    routed = ",".join(f"{domain}=127.0.0.1:{port}" for domain, port in routes.items())
    server = Landfall(stage, {"outbound": {"routes": routed}}, dns=f"127.0.0.1:{dns}")
    server.track_links_at("https://t.bench.example")
    return server


def landfall(notes):
    """Landfall sends a campaign."""
    with Stage() as stage:
        sink = load.Sink(stage, "sink")
        server = serve(stage, {OUT: sink.port})
        warm = server.add_people([f"w{n}@{OUT}" for n in range(200)], "Warm")
        people = server.add_people([f"p{n}@{OUT}" for n in range(COUNT)], "All")
        campaign(server, warm, "Warm")()
        wait_until("warm-up", lambda: sink.received() >= 200)
        send = campaign(server, people, "All")
        settle()
        cpu, start = server.cpu_seconds(), time.monotonic()
        send()
        rate = until_received([sink], 200 + COUNT, start) * COUNT / (COUNT + 200)
        cpu = server.cpu_seconds() - cpu
        notes.append(f"Landfall: {cpu * 1000 / COUNT:.2f} ms of processor a mail, peak memory {server.peak_memory_mb()} MB")
        return rate
