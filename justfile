# What contributors run. `just` lists it.

_default:
    @just --list

# All that CI runs, on a clean checkout 30 minutes.
ci:
    bash .ci/run

# The tests that need neither Java nor Chromium.
test *ARGS:
    cargo test --workspace {{ ARGS }}

# The unit tests and the template engine's: seconds.
quick:
    cargo test --lib
    cargo test -p vtl

# Tests against the emulator, by name: `just e2e rollback`.
e2e NAME="":
    cargo test --test e2e {{ NAME }}

# Writes what came out into the text cases of the stack file and the template engine. Read the diff.
cases:
    UPDATE_CASES=1 cargo test --test spec
    UPDATE_CASES=1 cargo test -p vtl --test recorded
    UPDATE_CASES=1 cargo test --test package in_step

lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# Ten minutes of a fuzz target of the template engine: template, body, jsonpath or methods.
fuzz TARGET="template" SECONDS="600":
    crates/vtl/fuzz/run.sh {{ TARGET }} {{ SECONDS }}

bench:
    cargo bench -p vtl --bench engine

# Where the time of a build goes.
timings:
    cargo build --timings

# Licenses, sources and advisories of the dependencies; needs cargo-deny.
deny:
    cargo deny check

# Serves stacks/routeto.yaml on this machine.
dev *ARGS:
    cargo run -- dev {{ ARGS }}
