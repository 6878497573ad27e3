"""An authoritative name server that answers at once, so that nobody is slowed by names: the sender's SPF, DKIM and DMARC,
the address of the receiving host, and «no such name» for everything else."""

from process import free_port

ROOT = """$ORIGIN .
$TTL 3600
@ SOA ns.bench. admin.bench. 1 3600 600 86400 60
@ NS ns.bench.
ns.bench. A 127.0.0.1
"""


def start(stage, records):
    """Serves `records` (zone lines with absolute names); gives the port."""
    port, folder = free_port(), stage.path("nsd")
    stage.write("nsd/root.zone", ROOT + "\n".join(records) + "\n")
    config = stage.write("nsd/nsd.conf", f"""server:
  ip-address: 127.0.0.1@{port}
  username: ""
  zonesdir: "{folder}"
  pidfile: "{folder}/nsd.pid"
  database: ""
  xfrdfile: "{folder}/xfrd.state"
  zonelistfile: "{folder}/zone.list"
  rrl-ratelimit: 0
remote-control:
  control-enable: no
zone:
  name: "."
  zonefile: root.zone
""")
    stage.start("nsd", ["/usr/sbin/nsd", "-d", "-c", config])
    return port


def records_of(domain, dkim=None):
    """What a sender publishes."""
    lines = [
        f'{domain}. TXT "v=spf1 ip4:127.0.0.0/8 -all"',
        f"{domain}. MX 10 mx.{domain}.",
        f"mx.{domain}. A 127.0.0.1",
        f'_dmarc.{domain}. TXT "v=DMARC1; p=reject"',
    ]
    for name, text in dkim or []:
        parts = " ".join(f'"{text[i:i + 200]}"' for i in range(0, len(text), 200))
        lines.append(f"{name}. TXT {parts}")
    return lines


