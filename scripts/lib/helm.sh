#!/usr/bin/env bash
# Builds a pinned version of Helm into .cache/clients/bin/helm for test/interop/image-charts.test.ts, since Debian has
# no package of it. The first run takes minutes. Without Go, or without its modules, nothing is built, and those tests
# are skipped.
set -uo pipefail
ROOT=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.." && pwd)
VERSION=v3.17.3
CLIENTS=$ROOT/.cache/clients
mkdir -p "$CLIENTS/bin"
exec 7>"$CLIENTS/helm.lock"
flock 7
[ -x "$CLIENTS/bin/helm" ] && [ "$(cat "$CLIENTS/.helm-of" 2>/dev/null)" = $VERSION ] && exit 0
command -v go >/dev/null || { echo "helm: Go is not installed: the tests that need it are skipped" >&2; exit 1; }
echo "helm: building Helm $VERSION (once, minutes)" >&2
CGO_ENABLED=0 GOBIN=$CLIENTS/helm.part timeout 1800 go install \
  -ldflags "-s -w -X helm.sh/helm/v3/internal/version.version=$VERSION" "helm.sh/helm/v3/cmd/helm@$VERSION" >"$CLIENTS/helm.log" 2>&1 || {
  echo "helm: cannot build it: $(tail -n 1 "$CLIENTS/helm.log"); the tests that need it are skipped" >&2
  exit 1
}
mv "$CLIENTS/helm.part/helm" "$CLIENTS/bin/helm" && rmdir "$CLIENTS/helm.part"
echo $VERSION >"$CLIENTS/.helm-of"
