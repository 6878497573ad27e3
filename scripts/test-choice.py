#!/usr/bin/env python3
"""The good ending: the demo waits at the choice of act 2, the administrator stops the change over the API, nothing is
lost, and the server runs on until SIGTERM. test-choice.py"""
import http.cookiejar
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.request

PEOPLE = 40
LINES_MAX = 200
TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.expanduser("~/.cache/landfall-target"))
BINARY = os.path.join(TARGET, "demo", "landfall")
ENVIRONMENT = dict(os.environ, LANDFALL_SMTP_LISTEN="127.0.0.1:0", LANDFALL_HTTP_LISTEN="127.0.0.1:0")


class Administrator:
    """A browser's worth of the API: a cookie and the token against forged requests."""

    def __init__(self, url, login, password):
        self.url, self.csrf = url, ""
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
        self.csrf = self.post("/session", {"login": login, "password": password})["csrf"]

    def post(self, path, body):
        headers = {"content-type": "application/json", "x-csrf-token": self.csrf}
        request = urllib.request.Request(f"{self.url}/api/v1{path}", json.dumps(body).encode(), headers)
        return json.load(self.opener.open(request, timeout=30))

    def get(self, path):
        return json.load(self.opener.open(f"{self.url}/api/v1{path}", timeout=30))


def read_until(process, pattern, said):
    """The first line that matches; the demo's own bounds end a story that hangs."""
    for line in process.stdout:
        said.append(line)
        found = re.search(pattern, line)
        if found or len(said) > LINES_MAX:
            return found
    return None


def main():
    with tempfile.TemporaryDirectory(prefix="landfall-choice.") as data:
        command = [BINARY, "demo", "--people", str(PEOPLE), "--data", os.path.join(data, "data")]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env=ENVIRONMENT, text=True)
        said, problems = [], []
        try:
            change = read_until(process, r"(http\S+)/changes/(\d+)", said)
            text = "".join(said)
            password = re.search(r"password (\S+)", text).group(1)
            login = re.search(r"administrator\s+(\S+@\S+)", text).group(1)
            administrator = Administrator(change.group(1), login, password)
            before = administrator.get("/totals")["places"]
            stopped = administrator.post(f"/changes/{change.group(2)}/stop", {"reason": "the host is our own"})
            if not stopped["changed"]:
                problems.append(f"stopping changed nothing: {stopped}")
            if not read_until(process, "The good ending", said):
                problems.append("the story did not say that it ended well")
            after = administrator.get("/totals")
            if after["places"] != before or any(place["place"] == "quarantine" for place in after["places"]):
                problems.append(f"places moved: {before} became {after['places']}")
            if administrator.get("/incidents")["items"]:
                problems.append("an incident opened although nothing was lost")
        finally:
            process.terminate()
            rest, _ = process.communicate(timeout=60)
        if process.returncode != 0:
            problems.append(f"SIGTERM ended it with {process.returncode}")
        for problem in problems:
            print("choice:", problem)
        if problems:
            print("".join(said), rest)
        print(f"{0 if problems else 1} passed, {len(problems)} failed")
        sys.exit(1 if problems else 0)


main()
