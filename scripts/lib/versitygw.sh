#!/usr/bin/env bash
# Builds a pinned version of versitygw, an S3 gateway over a folder, into .cache/clients/bin/versitygw for the tests of
# stores in object storage, since Debian has no package of it. The first run takes minutes. Without Go, or without its
# modules, nothing is built, and those tests are skipped.
set -uo pipefail
ROOT=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.." && pwd)
VERSION=v1.8.0
CLIENTS=$ROOT/.cache/clients
mkdir -p "$CLIENTS/bin"
exec 7>"$CLIENTS/versitygw.lock"
flock 7
[ -x "$CLIENTS/bin/versitygw" ] && [ "$(cat "$CLIENTS/.versitygw-of" 2>/dev/null)" = $VERSION ] && exit 0
command -v go >/dev/null || { echo "versitygw: Go is not installed: the tests that need it are skipped" >&2; exit 1; }
echo "versitygw: building versitygw $VERSION (once, minutes)" >&2
CGO_ENABLED=0 GOBIN=$CLIENTS/versitygw.part timeout 1800 nice go install \
  -ldflags "-s -w" "github.com/versity/versitygw/cmd/versitygw@$VERSION" >"$CLIENTS/versitygw.log" 2>&1 || {
  echo "versitygw: cannot build it: $(tail -n 1 "$CLIENTS/versitygw.log"); the tests that need it are skipped" >&2
  exit 1
}
mv "$CLIENTS/versitygw.part/versitygw" "$CLIENTS/bin/versitygw" && rmdir "$CLIENTS/versitygw.part"
echo $VERSION >"$CLIENTS/.versitygw-of"
