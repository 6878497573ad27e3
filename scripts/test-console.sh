#!/usr/bin/env bash
# Playwright journeys in Debian's Chromium: by role on the running demo, on a fresh server, and on one with 10,000 rows.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -f web/console/package.json ] || { echo "there is no console yet" >&2; exit 1; }
bin="${CARGO_TARGET_DIR:-$HOME/.cache/landfall-target}/demo/landfall"
work=$(mktemp -d "${TMPDIR:-/tmp}/landfall-journeys.XXXXXX")
pids=()
end() { for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done; wait 2>/dev/null || true; rm -rf "$work"; }
trap end EXIT
export LANDFALL_SMTP_LISTEN=127.0.0.1:0 LANDFALL_HTTP_LISTEN=127.0.0.1:0

# Waits for a line in a log, at most so many seconds.
await() { for _ in $(seq 1 $(($3 * 10))); do grep -q "$1" "$2" && return 0; sleep 0.1; done; echo "no «$1» in $2:"; cat "$2"; return 1; }
url_in() { sed -n 's/^Console \(http[^ ]*\).*/\1/p' "$1" | head -n 1; }

people="${JOURNEY_PEOPLE:-120}"
"$bin" demo --exit --acts 4 --people "$people" --data "$work/demo" > "$work/story.log" 2>&1 || { cat "$work/story.log"; exit 1; }
"$bin" serve --data "$work/empty" > "$work/empty.log" 2>&1 & pids+=($!)
"$bin" seed --data "$work/seeded" --rows 10000 > "$work/seed.log" 2>&1 || { cat "$work/seed.log"; exit 1; }
# The partners' hosts, as the seed had them: ten domains each. They are reached and take nothing, so the queue keeps what it has, and
# the agent leaves them alone for a while. Everything else would go to where nobody listens.
node web/console/e2e/busy-hosts.mjs 4 > "$work/busy.log" & pids+=($!)
await "^Busy" "$work/busy.log" 60
read -ra busy < <(sed -n 's/^Busy //p' "$work/busy.log")
routes=$(for n in $(seq 0 39); do echo "partner$n.example=127.0.0.1:${busy[n % 4]}"; done | paste -sd,)
LANDFALL_OUTBOUND_RELAY=127.0.0.1:9 LANDFALL_OUTBOUND_ROUTES="$routes" "$bin" serve --data "$work/seeded" > "$work/seeded.log" 2>&1 & pids+=($!)
"$bin" demo --people "$people" --data "$work/demo" > "$work/demo.log" 2>&1 & pids+=($!)
await "^First run" "$work/empty.log" 60
await "^Console" "$work/seeded.log" 60
await "Your turn" "$work/demo.log" 60

password=$(sed -n 's/.*password \(.*\)$/\1/p' "$work/demo.log" | head -n 1)
login() { awk -v role="$1" '$1 == role { print $2; exit }' "$work/demo.log"; }
entry() { printf '"%s":{"login":"%s","password":"%s"}' "$1" "$(login "$1")" "$password"; }
export LANDFALL_LOGINS="{$(entry communicator),$(entry administrator),$(entry analyst),$(entry recipient)}"
# The seeded server has the same logins.
seeded() { printf '{"login":"%s","password":"%s"}' "$(login "$1")" "$password"; }
LANDFALL_SEEDED_LOGIN=$(seeded administrator); LANDFALL_SEEDED_RECIPIENT=$(seeded recipient)
export LANDFALL_SEEDED_LOGIN LANDFALL_SEEDED_RECIPIENT
LANDFALL_URL=$(url_in "$work/demo.log"); LANDFALL_EMPTY_URL=$(url_in "$work/empty.log"); LANDFALL_SEEDED_URL=$(url_in "$work/seeded.log")
LANDFALL_EMPTY_LINK=$(sed -n 's/^First run.*: \(http.*\)$/\1/p' "$work/empty.log")
export LANDFALL_URL LANDFALL_EMPTY_URL LANDFALL_SEEDED_URL LANDFALL_EMPTY_LINK
export LANDFALL_BIN="$bin"
export SHOTS="${SHOTS:-$work/shots}"
( cd web/console && npm run --silent e2e )
