#!/usr/bin/env python3
"""Kills the real binary with SIGKILL at random instants of act 1, restarts it on its data, and counts: every copy of the
campaign must be in the gateway's store exactly once. test-kills.py KILLS [SEED]"""
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

KILLS = int(sys.argv[1])
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time())
PEOPLE = 200
# From the start of act 1 on, in seconds: sending 200 copies takes well under one, then people read. Most kills fall
# into the sending.
SENDING_S, READING_S = 0.7, 2.0
STEP_S = 120
TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.expanduser("~/.cache/landfall-target"))
BINARY = os.path.join(TARGET, "demo", "landfall")
ENVIRONMENT = dict(os.environ, LANDFALL_SMTP_LISTEN="127.0.0.1:0", LANDFALL_HTTP_LISTEN="127.0.0.1:0")


def demo(data, *arguments):
    command = [BINARY, "demo", "--exit", "--people", str(PEOPLE), "--data", data, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT, text=True)


def finish(process, what):
    out, err = process.communicate(timeout=STEP_S)
    if process.returncode != 0:
        raise SystemExit(f"{what}: exit code {process.returncode}\n{out}\n{err}")


def kill_in_act_1(data, after_s):
    """Starts act 1 and kills it `after_s` seconds after it has begun; gives whether it was still running."""
    process = demo(data, "--acts", "1")
    for line in process.stdout:
        if line.startswith("1. Landed"):
            break
    time.sleep(after_s)
    alive = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=STEP_S)
    process.stdout.close()
    process.stderr.close()
    return alive


def count(data):
    """What the store holds, without its lock: the server is down."""
    rows = sqlite3.connect(os.path.join(data, "landfall.db"))
    one = lambda sql: rows.execute(sql).fetchone()[0]
    found = {
        "copies": one("SELECT COUNT(*) FROM copy WHERE campaign_id IS NOT NULL"),
        "recipients with a copy": one("SELECT COUNT(DISTINCT recipient) FROM copy WHERE campaign_id IS NOT NULL"),
        "received": one("SELECT COUNT(*) FROM received_copy"),
        "messages received": one("SELECT COUNT(*) FROM message WHERE direction = 'inbound'"),
        "in mailboxes": one("SELECT COUNT(*) FROM mail_item"),
        "copies in mailboxes": one("SELECT COUNT(DISTINCT copy_id) FROM mail_item"),
        "landings": one("SELECT COUNT(*) FROM event WHERE kind = 'accepted' AND source = 'gateway'"),
    }
    again = one("SELECT COUNT(*) FROM event WHERE kind = 'resend_suppressed'")
    rows.close()
    return found, again


def main():
    print(f"seed {SEED}, {KILLS} kills, {PEOPLE} people", flush=True)
    chance = random.Random(SEED)
    work = tempfile.mkdtemp(prefix="landfall-kills.")
    failed = 0
    try:
        stage = os.path.join(work, "stage")
        finish(demo(stage, "--acts", "0"), "setting the stage")
        for n in range(1, KILLS + 1):
            data = os.path.join(work, str(n))
            shutil.copytree(stage, data)
            after_s = chance.uniform(0, SENDING_S) if chance.random() < 0.8 else chance.uniform(SENDING_S, READING_S)
            alive = kill_in_act_1(data, after_s)
            before, _ = count(data)
            finish(demo(data, "--until-sent"), "the restart")
            found, again = count(data)
            wrong = {what: got for what, got in found.items() if got != PEOPLE}
            failed += bool(wrong)
            state = "WRONG " + json.dumps(wrong) if wrong else "ok"
            done = before["received"]
            print(f"kill {n:3} after {after_s:.3f} s ({'running' if alive else 'over'}, {done} received): "
                  f"{state}, {again} resends suppressed", flush=True)
            shutil.rmtree(data)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f"{KILLS - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
