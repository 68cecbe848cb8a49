#!/usr/bin/env bash
# Times this engine, Apache Velocity 1.7, velocityjs 2.1.7 and airspeed 0.7.1 on the same templates and body, one after the other, by processor time,
# and prints the ratios. Needs: apt-get install velocity libjson-smart-java openjdk-17-jdk-headless nodejs npm python3-venv
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
j=/usr/share/java
cp=$j/velocity.jar:$j/commons-lang.jar:$j/commons-collections3.jar:$j/json-smart.jar:$j/accessors-smart.jar:$j/asm.jar
javac -nowarn -cp "$cp" -d "$out" "$here/Bench.java"
npm install --silent --prefix "$out" velocityjs@2.1.7
python3 -m venv "$out/venv"
"$out/venv/bin/pip" install --quiet --disable-pip-version-check airspeed==0.7.1
{
  cargo bench --quiet --manifest-path "$here/../../Cargo.toml" --bench this_engine
  java -cp "$out:$cp" Bench
  NODE_PATH=$out/node_modules node "$here/velocityjs.js"
  "$out/venv/bin/python" "$here/airspeed_bench.py"
} | tee "$out/times"
awk '
  # engine, name, microseconds
  { us = $(NF - 2); engine = $1; name = $0; sub(/^[^ ]+ /, "", name); sub(/ +[0-9.]+ us .*/, "", name); time[engine, name] = us }
  function ratio(what, engine, wanted,   is) {
    is = time[engine, what] / time["routeto", what]
    printf "%-28s %6.1f x %-10s (wanted: %d x)%s\n", what, is, engine, wanted, is < wanted ? "  MISSED" : ""
  }
  END {
    print ""
    ratio("raw", "velocity", 2)
    ratio("json", "velocityjs", 2)
    ratio("parsed each time, raw", "velocity", 5)
    ratio("parsed each time, json", "velocity", 5)
    parse = time["routeto", "parse of 10 KB"]
    printf "%-28s %6.0f us             (wanted: 200 us)%s\n", "parse of 10 KB", parse, (parse > 200) ? "  MISSED" : ""
  }' "$out/times"
