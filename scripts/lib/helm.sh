#!/usr/bin/env bash
# Builds Helm into .cache/clients/bin/helm for test/interop/image-charts.test.ts and test/scripts/chart.test.ts. The
# first run takes minutes.
set -uo pipefail
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/go-build.sh"
VERSION=v3.17.3
go_build helm $VERSION go install -ldflags "-s -w -X helm.sh/helm/v3/internal/version.version=$VERSION" \
  "helm.sh/helm/v3/cmd/helm@$VERSION"
