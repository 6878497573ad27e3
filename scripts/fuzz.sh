#!/usr/bin/env bash
# Runs the fuzz targets one after the other, FUZZ_SECONDS each: scripts/fuzz.sh [TARGET…]
#
# Drives libFuzzer directly: the compiler's coverage passes need no nightly (RUSTC_BOOTSTRAP is not needed either, since
# no sanitizer is used: our code has no `unsafe`). What is found lies in fuzz/artifacts/TARGET/; the corpus grows in
# CARGO_TARGET_DIR/fuzz/corpus/TARGET/, starting from the committed fuzz/corpus/TARGET/.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds="${FUZZ_SECONDS:-600}"
target_dir="${CARGO_TARGET_DIR:-$HOME/.cache/landfall-target}/fuzz"
mapfile -t all < <(sed -n 's/^name = "\([a-z_]*\)"$/\1/p' fuzz/Cargo.toml)
targets=("${@:-${all[@]}}")
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
coverage+=" -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
host=$(rustc -vV | sed -n 's/^host: //p')
for target in "${targets[@]}"; do
  grown="$target_dir/corpus/$target"
  found="fuzz/artifacts/$target/"
  mkdir -p "$grown" "$found"
  features=(); [ "$target" = token ] && features=(--features token)
  # --target keeps the passes out of build scripts and procedural macros.
  env -u CARGO_ENCODED_RUSTFLAGS CARGO_TARGET_DIR="$target_dir" RUSTFLAGS="--cfg fuzzing $coverage" \
    cargo build --quiet --manifest-path fuzz/Cargo.toml --release --target "$host" --bin "$target" "${features[@]}"
  echo "== $target, $seconds s"
  log="$target_dir/$target.log"
  if ! nice -n 19 "$target_dir/$host/release/$target" "$grown" "fuzz/corpus/$target" -max_total_time="$seconds" \
    -timeout="${FUZZ_TIMEOUT:-10}" -rss_limit_mb=1024 -max_len="${FUZZ_LEN_MAX:-8192}" -artifact_prefix="$found" \
    -print_final_stats=1 -verbosity=1 > "$log" 2>&1; then
    tail -n 40 "$log"
    echo "fuzz: $target found something, see $found" >&2
    exit 1
  fi
  grep -E '^(Done|stat::(number_of_executed_units|peak_rss_mb))' "$log"
done
echo "fuzz: nothing found in ${#targets[@]} targets"
