//go:build tools

// Names the program that scripts/lib/kube-apiserver.sh builds, so that go.mod keeps what it needs.
package main

import _ "k8s.io/kubernetes/cmd/kube-apiserver/app"
