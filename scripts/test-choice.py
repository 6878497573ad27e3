#!/usr/bin/env python3
"""The demo as somebody plays it who is there: the choice of act 2 with its good ending, the same data again, a second
demo beside the first, and Ctrl-C where the story waits. test-choice.py"""
import http.cookiejar
import json
import os
import pty
import re
import signal
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


def start(folder, *arguments, stdin=subprocess.DEVNULL):
    command = [BINARY, "demo", "--people", str(PEOPLE), "--data", os.path.join(folder, "data"), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=stdin, env=ENVIRONMENT, text=True)


def ended(process, how):
    process.send_signal(how)
    rest, _ = process.communicate(timeout=60)
    return process.returncode, rest


def administrator_of(found, said):
    text = "".join(said)
    password = re.search(r"password (\S+)", text).group(1)
    login = re.search(r"administrator\s+(\S+@\S+)", text).group(1)
    return Administrator(found.group(1), login, password)


def stopped_at_the_choice(folder, problems):
    """Nothing is lost, nobody else gets the folder meanwhile, and the server runs on until SIGTERM."""
    process, said, rest = start(folder), [], ""
    try:
        change = read_until(process, r"(http\S+)/changes/(\d+)", said)
        administrator = administrator_of(change, said)
        second = start(folder)
        words, _ = second.communicate(timeout=60)
        if second.returncode != 2 or "another server runs on" not in words:
            problems.append(f"a second demo on the same folder: {second.returncode}, {words}")
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
        code, rest = ended(process, signal.SIGTERM)
    if code != 0:
        problems.append(f"SIGTERM ended it with {code}")
    return "".join(said) + rest


def continued_after_the_stop(folder, problems):
    """What was stopped stays stopped: the story has ended, and does not go on as if it had happened."""
    process, said, rest = start(folder), [], ""
    try:
        console = read_until(process, r"Console (http\S+)", said)
        if not read_until(process, "The good ending", said):
            problems.append("continued: the story did not say that it ended well")
        if any("NOT AS TOLD" in line for line in said):
            problems.append("continued: something was not as told")
        campaigns = administrator_of(console, said).get("/campaigns")["items"]
        if len(campaigns) != 1:
            problems.append(f"continued: {len(campaigns)} campaigns, one was sent before the change was stopped")
    finally:
        ended(process, signal.SIGTERM)
    whole = start(folder, "--exit")
    rest, _ = whole.communicate(timeout=120)
    if whole.returncode != 1 or "name a new folder" not in rest:
        problems.append(f"the whole story on a stopped one ended with {whole.returncode}")
    return "".join(said) + rest


def interrupted_before_the_last_act(folder, problems):
    """On a terminal the story waits for Enter. Ctrl-C ends it all the same, and the whole story was not told."""
    terminal, theirs = pty.openpty()
    process, said, rest = start(folder, "--skip-choice", stdin=theirs), [], ""
    os.close(theirs)
    try:
        if not read_until(process, "press Enter", said):
            problems.append("the story did not come to the last act")
        code, rest = ended(process, signal.SIGINT)
        if code != 0:
            problems.append(f"Ctrl-C before the last act ended it with {code}")
    except subprocess.TimeoutExpired:
        problems.append("Ctrl-C before the last act does not end it")
        process.kill()
    finally:
        os.close(terminal)
    cut_off = start(folder, "--exit")
    if not read_until(cut_off, "Brought back", said):
        problems.append("the story did not continue with the last act")
    code, more = ended(cut_off, signal.SIGINT)
    if code != 1 and "The end" not in more:
        problems.append(f"a whole story that was cut off ended with {code}")
    return "".join(said) + rest + more


def main():
    passed, failed = 0, 0
    parts = [(stopped_at_the_choice, continued_after_the_stop), (interrupted_before_the_last_act,)]
    for tests in parts:
        with tempfile.TemporaryDirectory(prefix="landfall-choice.") as folder:
            for test in tests:
                problems = []
                said = test(folder, problems)
                for problem in problems:
                    print("choice:", problem)
                if problems:
                    print(said)
                passed, failed = passed + (not problems), failed + bool(problems)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
