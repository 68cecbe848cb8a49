#!/usr/bin/env bash
# README's "Try it here" in the emulator: the whole path, for people. Starts it on 127.0.0.1:${PORT:-4566}, deploys stacks/routeto.yaml into it,
# posts a webhook, shows what was stored, and ends the emulator again.
set -euo pipefail
cd "$(dirname "$0")/../.."
port=${PORT:-4566}
state=${CARGO_TARGET_DIR:-target}/emulator
mkdir -p "$state"
cargo build --quiet
routeto=${CARGO_TARGET_DIR:-target}/debug/routeto
tests/emulator/start.sh "$port" "$state" --install-only
tests/emulator/start.sh "$port" "$state" >"$state/try.log" 2>&1 &
emulator=$!
end() {
  kill -TERM "$emulator" 2>/dev/null || true
  for _ in $(seq 50); do kill -0 "$emulator" 2>/dev/null || return 0; sleep 0.1; done
  kill -KILL "$emulator" 2>/dev/null || true
}
trap end EXIT
echo "waiting for the emulator on 127.0.0.1:$port (its log: $state/try.log)"
for i in $(seq 300); do
  curl --silent --fail "http://127.0.0.1:$port/_localstack/health" >/dev/null && break
  kill -0 "$emulator" 2>/dev/null || { tail -n 20 "$state/try.log" >&2; exit 1; }
  [ "$i" -lt 300 ] || { echo "the emulator doesn't answer; see $state/try.log" >&2; exit 1; }
  sleep 0.2
done
export AWS_ENDPOINT_URL=http://127.0.0.1:$port AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION=us-east-1
export ROUTETO_INVOKE_URL="http://127.0.0.1:$port/_aws/execute-api/{api}/{stage}"
# a stand-in for a secret, and for this emulator only
export ROUTETO_TOKEN_PROD=only-for-the-emulator-0000 ROUTETO_TOKEN_DEV=only-for-the-emulator-0001
"$routeto" deploy
url=$("$routeto" status --output json --quiet | "$state/venv/bin/python" -c 'import json, sys; print(json.load(sys.stdin)["stages"]["prod"]["routes"]["/input"])')
echo
echo "POST $url?token=…"
curl --silent --show-error --write-out ' (%{http_code})\n' --header 'content-type: application/json' \
  --data '[{"event":"delivered","email":"a@example.com","timestamp":1.50}]' "$url?token=$ROUTETO_TOKEN_PROD"
"$state/venv/bin/python" - <<'PYTHON'
import boto3
s3 = boto3.client("s3")
for bucket in s3.list_buckets()["Buckets"]:
    for item in s3.list_objects_v2(Bucket=bucket["Name"]).get("Contents", []):
        print("stored: s3://%s/%s\n  %s" % (bucket["Name"], item["Key"], s3.get_object(Bucket=bucket["Name"], Key=item["Key"])["Body"].read().decode()))
PYTHON
echo
"$routeto" teardown --yes --delete-data
