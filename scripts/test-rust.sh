#!/usr/bin/env bash
# All Rust tests, with a PostgreSQL cluster of their own, stopped at the end.
set -euo pipefail
cd "$(dirname "$0")/.."
export LANDFALL_TEST_POSTGRES_STATE
LANDFALL_TEST_POSTGRES_STATE=$(mktemp -d "${TMPDIR:-/tmp}/landfall-pgstate.XXXXXX")
trap 'scripts/postgres.sh stop' EXIT
eval "$(scripts/postgres.sh start)"
if cargo nextest --version >/dev/null 2>&1; then
  cargo nextest run --cargo-profile demo --locked --workspace --no-fail-fast "$@"
else
  cargo test --profile demo --locked --workspace --no-fail-fast "$@"
fi
cargo test --profile demo --locked --workspace --doc --quiet
