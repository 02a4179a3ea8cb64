#!/usr/bin/env bash
# Builds kube-score, which says what good practice a chart lacks, into .cache/clients/bin/kube-score for
# test/scripts/chart.test.ts. kube-linter is not among the Go modules that are served.
set -uo pipefail
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/go-build.sh"
VERSION=v1.20.0
go_build kube-score $VERSION go install -ldflags "-s -w -X main.version=$VERSION" \
  "github.com/zegl/kube-score/cmd/kube-score@$VERSION"
