#!/usr/bin/env bash
# Sourced by scripts that build a pinned program from Go modules into .cache/clients/bin, since Debian has no package of
# it. Without Go, or without its modules, nothing is built, and the tests that need the program are skipped.
ROOT=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.." && pwd)
CLIENTS=$ROOT/.cache/clients

# go_build NAME VERSION COMMAND...: runs a go command that leaves the program in $GOBIN, unless this version is there.
# Ends the script: with status 1 if there is no program afterwards.
go_build() {
  local name=$1 version=$2 part=$CLIENTS/$1.part
  shift 2
  mkdir -p "$CLIENTS/bin"
  exec 7>"$CLIENTS/$name.lock"
  flock 7
  [ -x "$CLIENTS/bin/$name" ] && [ "$(cat "$CLIENTS/.$name-of" 2>/dev/null)" = "$version" ] && exit 0
  command -v go >/dev/null || { echo "$name: Go is not installed: the tests that need it are skipped" >&2; exit 1; }
  echo "$name: building $name $version (once, minutes)" >&2
  rm -rf "$part"
  CGO_ENABLED=0 GOBIN=$part timeout 900 nice "$@" >"$CLIENTS/$name.log" 2>&1 || {
    echo "$name: cannot build it: $(tail -n 1 "$CLIENTS/$name.log"); the tests that need it are skipped" >&2
    exit 1
  }
  mv "$part/$name" "$CLIENTS/bin/$name" && rmdir "$part"
  echo "$version" >"$CLIENTS/.$name-of"
  exit 0
}
