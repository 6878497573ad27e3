"""Landfall as a user starts it: `serve` with a configuration file, filled over its own API."""
import json
import os
import re
import sqlite3
import subprocess
import time
import urllib.error
import urllib.request
import http.cookiejar

from process import free_port, wait_for_port, wait_until

TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.expanduser("~/.cache/landfall-target"))
BINARY = os.environ.get("BENCH_BINARY", os.path.join(TARGET, "release", "landfall"))
DOMAIN = "bench.example"


class Landfall:
    """One running server."""

    def __init__(self, stage, settings, dns="none", name="landfall"):
        """Starts it with further `settings`: {table: {key: value}}."""
        self.stage, self.smtp, self.http = stage, free_port(), free_port()
        self.data = stage.path(name)
        tables = {
            "server": {"hostname": "mx.bench.example"},
            "organisation": {"name": "Bench", "domains": [DOMAIN]},
            "smtp": {"listen": [f"127.0.0.1:{self.smtp}"], "connections_per_ip_max": 1000},
            "http": {"listen": f"127.0.0.1:{self.http}"},
            "dns": {"server": dns},
            "log": {"level": "warn"},
        }
        for table, keys in settings.items():
            tables.setdefault(table, {}).update(keys)
        lines = []
        for table, keys in tables.items():
            lines.append(f"[{table}]")
            lines += [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
        stage.write(f"{name}/landfall.toml", "\n".join(lines) + "\n")
        self.process = stage.start(name, [BINARY, "serve", "--data", self.data])
        for port in (self.smtp, self.http):
            wait_for_port(port, "Landfall", self.process, lambda: stage.log(name))
        self.api = Api(f"http://127.0.0.1:{self.http}", self.sign_in_token())

    def sign_in_token(self):
        """A one-time link for the owner, as an operator gets it."""
        return re.search(r"/sign-in/link/(\S+)", self.command("sign-in-link", "owner")).group(1)

    def command(self, name, *arguments):
        """Runs `landfall NAME --data ...` beside the server; gives what it prints."""
        return subprocess.run([BINARY, name, *arguments, "--data", self.data], check=True, capture_output=True, text=True).stdout

    def track_links_at(self, url):
        """Where the links of campaigns point."""
        settings = self.api.get("/settings")
        settings["tracking"]["base_url"] = url
        self.api.call("PUT", "/settings", json.dumps(settings).encode())

    def add_people(self, addresses, list_name="All"):
        """Imports people by CSV onto a list; gives the list's id."""
        csv = "address,name\n" + "".join(f"{address},Person {n}\n" for n, address in enumerate(addresses))
        report = self.api.call("POST", f"/people/import?list={list_name}", csv.encode(), "text/csv")
        assert report["applied"], report
        return next(item["id"] for item in self.api.get("/lists") if item["name"] == list_name)

    def one(self, sql):
        """One number from its rows, read beside it."""
        rows = sqlite3.connect(f"file:{self.data}/landfall.db?mode=ro", uri=True, timeout=30)
        try:
            return rows.execute(sql).fetchone()[0]
        finally:
            rows.close()

    def in_inboxes(self):
        """How many mails lie in mailboxes."""
        return self.one("SELECT COUNT(*) FROM mail_item")

    def peak_memory_mb(self):
        """VmHWM."""
        with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as status:
            return int(re.search(r"VmHWM:\s+(\d+)", status.read()).group(1)) // 1024

    def cpu_seconds(self):
        """User and system time so far."""
        with open(f"/proc/{self.process.pid}/stat", encoding="utf-8") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Api:
    """A signed-in owner."""

    def __init__(self, url, token):
        self.url, self.csrf = f"{url}/api/v1", ""
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
        self.csrf = self.post("/session/link", {"token": token})["csrf"]

    def call(self, method, path, body=None, kind="application/json"):
        """One request; a refusal is shown whole."""
        headers = {"content-type": kind, "x-csrf-token": self.csrf}
        request = urllib.request.Request(self.url + path, body, headers, method=method)
        try:
            with self.opener.open(request, timeout=300) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{method} {path}: {error.code} {error.read().decode(errors='replace')}") from None
        return json.loads(text) if text else None

    def get(self, path):
        """GET."""
        return self.call("GET", path)

    def post(self, path, body):
        """POST of JSON."""
        return self.call("POST", path, json.dumps(body).encode())


def settle():
    """Lets what was written before reach the disk, so that it does not cost the next one."""
    os.sync()
    time.sleep(0.5)


__all__ = ["Landfall", "DOMAIN", "settle", "wait_until"]
