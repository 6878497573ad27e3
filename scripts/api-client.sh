#!/usr/bin/env bash
# The typed client: web/api-client/src/schema.d.ts is generated from openapi.json. --check fails when it is stale.
set -euo pipefail
cd "$(dirname "$0")/../web/api-client"
[ -d node_modules ] || npm ci --no-audit --no-fund --loglevel=error
if [ "${1:-}" = --check ]; then npm run --silent check; else npm run --silent generate; fi
