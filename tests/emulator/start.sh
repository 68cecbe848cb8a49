#!/usr/bin/env bash
# Starts LocalStack 4.9.0 on 127.0.0.1:$1 (default 4566); its environment and all its files go under $2 (default target/emulator).
# It runs the API Gateway data plane (VTL included), Lambda bootstraps as processes, S3, SQS, IAM, Logs and STS. No Docker, no account.
# Linux, Python 3.11 to 3.13. Takes the ports $1 to $1 + 50. To end it: Ctrl-C, or TERM to this process id, and KILL if it still stands after 5 s.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
port=${1:-4566}; state=${2:-${CARGO_TARGET_DIR:-$here/../../target}/emulator}
mkdir -p "$state"; state=$(cd "$state" && pwd)
venv=${EMULATOR_VENV:-$state/venv}
run=$state/run-$port

# a version that these packages have wheels for; a name in the PATH may be a version manager's stub, so it is asked
find_python() {
  for name in "${EMULATOR_PYTHON:-python3.11}" python3.12 python3.13 python3; do
    if "$name" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
      echo "$name"
      return
    fi
  done
  echo "emulator: no Python 3.11, 3.12 or 3.13 with the venv module was found: install one (Debian, Ubuntu: apt-get install python3-venv)," >&2
  echo "  or name one in EMULATOR_PYTHON" >&2
  return 1
}

# what is installed is named by what it was installed from: a changed requirement or plugin is installed anew
wanted=$(cd "$here" && cat requirements.txt pyproject.toml process_executor/*.py | sha256sum | cut -c1-16)
(
  flock 9 # the first one in makes the environment, the others wait
  if [ "$(cat "$venv/.ready" 2>/dev/null)" != "$wanted" ]; then
    python=$(find_python)
    echo "emulator: installing LocalStack into $venv (once, a minute or two)" >&2
    [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps -r "$here/requirements.txt"
    rm -rf "$state/plugin" && cp -r "$here" "$state/plugin" # pip builds in place: not in the source tree
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall "$state/plugin"
    echo "$wanted" >"$venv/.ready"
  fi
) 9>"$state/lock"
[ "${3:-}" != --install-only ] || exit 0

mkdir -p "$run/tmp"
if [ -t 1 ]; then
  cat <<HELP
The emulator comes up on 127.0.0.1:$port. In another terminal:

  export AWS_ENDPOINT_URL=http://127.0.0.1:$port AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION=us-east-1
  export ROUTETO_INVOKE_URL=http://127.0.0.1:$port/_aws/execute-api/{api}/{stage}
  cargo run -- deploy --show-token

HELP
fi
cd "$run"
# hypercorn is the one server here that keeps to the address it is given; twisted, the default, binds 0.0.0.0
exec env GATEWAY_LISTEN="127.0.0.1:$port" GATEWAY_SERVER=hypercorn LOCALSTACK_HOST="localhost.localstack.cloud:$port" \
  DNS_ADDRESS=0 SKIP_SSL_CERT_DOWNLOAD=1 DISABLE_EVENTS=1 LAMBDA_RUNTIME_EXECUTOR=process EAGER_SERVICE_LOADING=0 \
  LAMBDA_KEEPALIVE_MS=60000 SQS_DISABLE_CLOUDWATCH_METRICS=1 \
  LOCALSTACK_VOLUME_DIR="$run/volume" TMPDIR="$run/tmp" PATH="$venv/bin:$PATH" \
  EXTERNAL_SERVICE_PORTS_START=$((port + 1)) EXTERNAL_SERVICE_PORTS_END=$((port + 50)) \
  "$venv/bin/python" -m localstack.runtime.main
