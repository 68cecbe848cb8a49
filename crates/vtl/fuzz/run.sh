#!/usr/bin/env bash
# Fuzzes the template engine with libFuzzer on stable Rust: fuzz/run.sh TARGET [SECONDS]
# Targets: template body jsonpath methods
set -euo pipefail
cd "$(dirname "$0")"
target=${1:?which target: template, body, jsonpath or methods}
seconds=${2:-1200}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
# With a target, build scripts are built without the flags.
host=$(rustc -vV | sed -n 's/^host: //p')
cargo build --release --target "$host" --bin "$target"
mkdir -p "corpus/$target" "artifacts/$target"
exec "$CARGO_TARGET_DIR/$host/release/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=4096 -artifact_prefix="artifacts/$target/" "corpus/$target"
