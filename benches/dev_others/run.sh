#!/usr/bin/env bash
# `routeto dev` beside serverless-offline and LocalStack, in one run with one client: benches/dev.rs posts the same 2 KB to each.
# Linux; needs Rust, npm with Node 20 or newer, and Python 3.11 to 3.13 for the emulator of the tests. No account, no Docker.
#
#   benches/dev_others/run.sh [requests to routeto dev, default 100000]
#
# ROUTETO_TEST_FUNCTION_ZIP names a built zip of the function; else it is built (once, minutes).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd); root=$(cd "$here/../.." && pwd); cd "$root"
target=${CARGO_TARGET_DIR:-$root/target}; state=$target/dev_others
mkdir -p "$state/offline" "$state/records" "$state/stack"
cp "$here"/{package.json,serverless.yml,handler.js,template.js} "$state/offline"
[ -d "$state/offline/node_modules/serverless-offline" ] || npm install --prefix "$state/offline" --no-audit --no-fund --ignore-scripts --silent
"$root/tests/emulator/start.sh" 4600 "$target/emulator" --install-only
cargo bench --bench dev --no-run
routeto=$target/release/routeto

ended=()
end() { for pid in "${ended[@]}"; do kill -TERM -- "-$pid" 2>/dev/null || true; done; sleep 2; for pid in "${ended[@]}"; do kill -KILL -- "-$pid" 2>/dev/null || true; done; }
trap end EXIT
wait_for() { for _ in $(seq 600); do curl --silent --output /dev/null "$1" && return; sleep 0.5; done; echo "nobody answers at $1; see $state" >&2; exit 1; }

token=bench-$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
valid=sha256:$(printf %s "$token" | sha256sum | cut -d' ' -f1)
query="token=$token&app=input&bucket=bench" # its engine knows no null, so all that the template asks for is there

offline() { # port, name, where records go
  (cd "$state/offline" && HTTP_PORT=$1 LAMBDA_PORT=$(($1 + 1)) STORE=$3 VALID_TOKEN=$valid MAPPING_TEMPLATE=$root/mapping-templates/json.vtl SLS_TELEMETRY_DISABLED=1 SLS_NOTIFICATIONS_MODE=off \
    exec setsid node_modules/.bin/serverless offline >"$state/$2.log" 2>&1) &
  ended+=($!)
  wait_for "http://localhost:$1/"
}

setsid "$root/tests/emulator/start.sh" 4600 "$target/emulator" >"$state/localstack.log" 2>&1 &
ended+=($!)
offline 4700 offline-nothing ""
offline 4710 offline-files "$state/records"
wait_for http://127.0.0.1:4600/_localstack/health

cat >"$state/stack/stack.yaml" <<YAML
stack: bench
routes:
  /input:
    s3: { bucket: "bench-\${account}" }
stages:
  prod: { throttle: { rate: 10000, burst: 5000 } }
YAML
export AWS_ENDPOINT_URL=http://127.0.0.1:4600 AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION=us-east-1
export ROUTETO_INVOKE_URL="http://127.0.0.1:4600/_aws/execute-api/{api}/{stage}" ROUTETO_CACHE=$target/routeto-cache
deployed=$(ROUTETO_TOKEN=$token "$routeto" deploy "$state/stack/stack.yaml" --output json ${ROUTETO_TEST_FUNCTION_ZIP:+--function-zip "$ROUTETO_TEST_FUNCTION_ZIP"} 2>"$state/deploy.log")
url=$(printf %s "$deployed" | sed 's/.*"\/input":"\([^"]*\)".*/\1/')
unset AWS_ENDPOINT_URL AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_REGION

uptime
ROUTETO_BENCH_BESIDE="serverless-offline,storing-nothing=http://localhost:4700/prod/input?$query serverless-offline,a-file-per-record=http://localhost:4710/prod/input?$query LocalStack-4.9.0=$url?token=$token&app=input" \
  cargo bench --bench dev -- "${1:-100000}"
uptime
