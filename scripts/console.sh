#!/usr/bin/env bash
# Builds web/console/dist when its sources are newer than what was built.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -f web/console/package.json ] || exit 0
stamp=web/console/dist/.built
want=$(find web/console web/api-client -type f -not -path '*/node_modules/*' -not -path '*/dist/*' -print0 | sort -z | xargs -0 sha256sum | sha256sum)
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ] && exit 0
install() { ( cd "$1" && { [ -d node_modules ] && [ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --no-audit --no-fund --loglevel=error; } ); }
install web/api-client
install web/console
( cd web/console && npm run --silent build )
echo "$want" > "$stamp"
