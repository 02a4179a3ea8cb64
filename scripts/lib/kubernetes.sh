#!/usr/bin/env bash
# Builds programs of Kubernetes, named by arguments, into .cache/clients/bin: kube-apiserver for
# test/interop/kubernetes.test.ts, the others for scripts/cluster. Their module replaces others by folders of its own
# source, so go install refuses it; scripts/consumers/kubernetes names their released versions instead. The first run
# takes minutes.
set -uo pipefail
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/go-build.sh"
cd "$ROOT/scripts/consumers/kubernetes" || exit 1
VERSION=$(sed -n 's/^require k8s.io\/kubernetes //p' go.mod)
of=k8s.io/component-base/version
minor=${VERSION#v1.}
status=0
for name in "$@"; do
  (go_build "$name" "$VERSION" go install -ldflags \
    "-s -w -X $of.gitVersion=$VERSION -X $of.gitMajor=1 -X $of.gitMinor=${minor%%.*}" "k8s.io/kubernetes/cmd/$name") || status=1
done
exit $status
