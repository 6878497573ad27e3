#!/usr/bin/env bash
# kill -9 at random instants: KILLS=20 scripts/test-kills.sh. A third of them in act 1 of the story, the others under a load
# of incoming mail.
set -euo pipefail
cd "$(dirname "$0")/.."
kills="${KILLS:-20}"
python3 scripts/test-kills.py "$((kills / 3))"
python3 scripts/test-kills-inbound.py "$((kills - kills / 3))"
