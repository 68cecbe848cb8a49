#!/usr/bin/env bash
# Times Apache Velocity 1.7 on what benches/vtl.rs renders. Needs: apt-get install velocity libjson-smart-java openjdk-17-jdk-headless
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
j=/usr/share/java
cp=$j/velocity.jar:$j/commons-lang.jar:$j/commons-collections3.jar:$j/json-smart.jar:$j/accessors-smart.jar:$j/asm.jar
javac -nowarn -cp "$cp" -d "$out" "$here/Bench.java"
java -cp "$out:$cp" Bench
