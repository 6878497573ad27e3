#!/usr/bin/env bash
# kill -9 at random instants of act 1: KILLS=20 scripts/test-kills.sh
exec python3 "$(dirname "$0")/test-kills.py" "${KILLS:-20}"
