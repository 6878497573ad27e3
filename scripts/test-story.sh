#!/usr/bin/env bash
# The story, whole, in 300 MB: the report is checked by the binary itself (exit code) and once more here; then its data is backed
# up, restored and verified; then the kills.
set -euo pipefail
cd "$(dirname "$0")/.."
bin="${CARGO_TARGET_DIR:-$HOME/.cache/landfall-target}/demo/landfall"
work=$(mktemp -d "${TMPDIR:-/tmp}/landfall-story.XXXXXX")
trap 'rm -rf "$work"' EXIT

python3 scripts/peak-memory.py 300 "$bin" demo --exit --data "$work/data" --report "$work/report.json"
python3 scripts/check-report.py "$work/report.json" 1000

# The other ending: stopped at the choice.
python3 scripts/test-choice.py

"$bin" backup --data "$work/data" --to "$work/backup"
"$bin" verify --data "$work/backup"
"$bin" restore --data "$work/again" --from "$work/backup"
"$bin" verify --data "$work/again"

KILLS="${KILLS:-20}" scripts/test-kills.sh
