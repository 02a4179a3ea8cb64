#!/usr/bin/env bash
# Builds the API server of Kubernetes into .cache/clients/bin/kube-apiserver for test/interop/kubernetes.test.ts. Its
# module replaces others by folders of its own source, so go install refuses it; scripts/consumers/kube-apiserver names
# their released versions instead. The first run takes minutes.
set -uo pipefail
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/go-build.sh"
cd "$ROOT/scripts/consumers/kube-apiserver" || exit 1
VERSION=$(sed -n 's/^require k8s.io\/kubernetes //p' go.mod)
of=k8s.io/component-base/version
minor=${VERSION#v1.}
go_build kube-apiserver "$VERSION" go install -ldflags \
  "-s -w -X $of.gitVersion=$VERSION -X $of.gitMajor=1 -X $of.gitMinor=${minor%%.*}" k8s.io/kubernetes/cmd/kube-apiserver
