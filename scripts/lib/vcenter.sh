#!/usr/bin/env bash
# Builds the rehearsal's vCenter (govmomi's simulator, scripts/rehearsal-parts/vcenter) to
# .cache/clients/bin/rehearsal-vcenter. Needs Go 1.22 or later and its module proxy; the first run takes minutes.
# Idempotent.
set -euo pipefail
ROOT=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.." && pwd)
SOURCE=$ROOT/scripts/rehearsal-parts/vcenter OUT=$ROOT/.cache/clients/bin/rehearsal-vcenter
mkdir -p "$ROOT/.cache/clients/bin"
exec 7>"$ROOT/.cache/clients/vcenter.lock"
flock 7
sum=$(cat "$SOURCE"/main.go "$SOURCE"/go.* | sha256sum | cut -d' ' -f1)
[ -x "$OUT" ] && [ "$(cat "$ROOT/.cache/clients/.vcenter-of" 2>/dev/null)" = "$sum" ] && exit 0
command -v go >/dev/null || { echo "vcenter: Go is not installed: the rows of the simulated vCenter are skipped" >&2; exit 1; }
echo "vcenter: building the simulated vCenter (once, minutes)" >&2
(cd "$SOURCE" && GOFLAGS="-mod=readonly -modcacherw" GOTOOLCHAIN=local timeout 900 go build -o "$OUT.part" .)
mv "$OUT.part" "$OUT"
echo "$sum" >"$ROOT/.cache/clients/.vcenter-of"
