#!/usr/bin/env bash
# Builds versitygw, an S3 gateway over a folder, into .cache/clients/bin/versitygw for the tests of stores in object
# storage. The first run takes minutes.
set -uo pipefail
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/go-build.sh"
VERSION=v1.8.0
go_build versitygw $VERSION go install -ldflags "-s -w" "github.com/versity/versitygw/cmd/versitygw@$VERSION"
