#!/usr/bin/env bash
# kill -9 at random instants: KILLS=20 scripts/test-kills.sh. So many in act 1 of the story, and two thirds as many more under a
# load of incoming mail.
set -euo pipefail
cd "$(dirname "$0")/.."
kills="${KILLS:-20}"
python3 scripts/test-kills.py "$kills"
python3 scripts/test-kills-inbound.py "$((kills * 2 / 3))"
