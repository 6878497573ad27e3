#!/usr/bin/env python3
"""Checks the demo's report against the story it has to tell: check-report.py REPORT PEOPLE."""
import json
import sys

report, people = json.load(open(sys.argv[1])), int(sys.argv[2])
acts = {act["name"]: act for act in report["acts"]}
problems = []


def expect(what, got, want):
    if got != want:
        problems.append(f"{what}: {got!r}, expected {want!r}")


names = ["Landed", "The change", "Accepted, not landed", "Found", "Brought back"]
expect("acts", [act["name"] for act in report["acts"]], names)
mailbox = lambda act: sum(act["places"].get(p, 0) for p in ("inbox", "other_folder"))
if not problems:
    landed, changed, lost, found, back = (acts[name] for name in names)
    expect("landed in mailboxes", mailbox(landed), people)
    expect("last events of act 1", landed["events"], {"accepted": people})
    expect("pulled back", (changed["places"], changed["events"]), ({"quarantine": people}, {"purged": people}))
    both = ({"quarantine": 2 * people}, {"purged": people, "held": people})
    expect("accepted, not landed", (lost["places"], lost["events"]), both)
    expect("found", (found["places"], found["events"]), both)
    expect("brought back", mailbox(back), 2 * people)
    expect("last events of act 5", back["events"], {"restored": people, "released": people})
    expect("folders as they were", back["places"].get("other_folder", 0), landed["places"].get("other_folder", 0))
    expect("proof", report["proof"], {"sent_twice": 0, "restored": people, "released": people})
    for kind in ("people", "machines"):
        if not landed[kind]["opened"] or not landed[kind]["clicked"]:
            problems.append(f"act 1 counted no {kind}: {landed[kind]}")
for problem in problems:
    print("report:", problem)
print(f"{0 if problems else 1} passed, {len(problems)} failed")
sys.exit(1 if problems else 0)
