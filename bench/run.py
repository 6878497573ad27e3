#!/usr/bin/env python3
"""Side by side on this machine, in one run: prints a table of ratios. run.py [ROW...] [--json FILE]

Each row is one file in `rows/`: it starts the peer, measures, ends it, then does the same with Landfall. Rates are compared
within a row only; machines differ, ratios less so."""
import argparse
import importlib
import json
import os
import platform
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

ROWS = ["inbound", "inbound_64", "inbound_mix", "accept", "accept_kept", "outbound", "outbound_faulty"]


def machine():
    """One line on what this was measured on."""
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo", encoding="utf-8") if line.startswith("model name")), "?")
    memory = next(line.split()[1] for line in open("/proc/meminfo", encoding="utf-8") if line.startswith("MemTotal"))
    return f"{os.cpu_count()} cores, {model}, {int(memory) // 1048576} GiB, Linux {platform.release()}"


def verdict(r):
    """Whether the target was reached, or could be with this generator on this machine."""
    wanted = (r["target"] or 0) * r["peer_rate"]
    if not r["target"] or r["rate"] >= wanted:
        return "reached" if r["target"] else ""
    if r["ceiling"] and r["ceiling"] < wanted:
        return f"MISSED: the generator itself ends at {r['ceiling'] / r['peer_rate']:.1f} x"
    return "MISSED"


def show(rows):
    """The table."""
    print(f"\n{machine()}\n")
    head = ("row", "peer", "peer/s", "Landfall/s", "ratio", "target", "")
    lines = [head] + [
        (r["row"], r["peer"], f"{r['peer_rate']:.0f}", f"{r['rate']:.0f}", f"{r['rate'] / r['peer_rate']:.1f} x",
         f"{r['target']:g} x" if r["target"] else "-",
         verdict(r))
        for r in rows
    ]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())
    for r in rows:
        print(f"\n{r['row']}: {r['what']}")
        for note in r["notes"]:
            print(f"  {note}")


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("rows", nargs="*", default=ROWS, help=f"of {', '.join(ROWS)}")
    arguments.add_argument("--json", help="also write the figures to this file")
    arguments.add_argument("--only", choices=["peer", "landfall"], help="measure one side only (while tuning)")
    asked = arguments.parse_args()
    found = []
    for name in asked.rows:
        row = importlib.import_module(f"rows.{name}")
        print(f"{name} ...", flush=True)
        result = {"row": name, "what": " ".join(row.__doc__.split()), "peer": row.PEER, "target": row.TARGET, "notes": []}
        result["peer_rate"] = row.peer(result["notes"]) if asked.only != "landfall" else 1.0
        result["rate"] = row.landfall(result["notes"]) if asked.only != "peer" else 0.0
        result["ceiling"] = row.ceiling() if hasattr(row, "ceiling") and not asked.only else None
        if result["ceiling"]:
            result["notes"].append(f"ceiling: the same generator against smtp-sink, which stores nothing: {result['ceiling']:.0f}/s, "
                                   f"{result['ceiling'] / result['peer_rate']:.1f} x the peer")
        found.append(result)
        print(f"  {row.PEER} {result['peer_rate']:.0f}/s, Landfall {result['rate']:.0f}/s", flush=True)
    show(found)
    if asked.json:
        with open(asked.json, "w", encoding="utf-8") as file:
            json.dump({"machine": machine(), "rows": found}, file, indent=2)


main()
