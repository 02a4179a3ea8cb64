#!/usr/bin/env bash
# Builds small programs around the code with which k3s, BuildKit and osbuild read their configuration
# (scripts/consumers), and fetches the schemas of Talos and OpenShift, all from Go modules of pinned versions.
# test/interop/mirror-config.test.ts checks rendered files with them. Idempotent; without Go nothing is built, and those
# tests are skipped.
set -uo pipefail
ROOT=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.." && pwd)
CLIENTS=$ROOT/.cache/clients
OUT=$CLIENTS/consumers
TALOS=github.com/siderolabs/talos/pkg/machinery@v1.11.0
OPENSHIFT=github.com/openshift/api@v0.0.0-20240301093301-ce10821dc999
failed=0

miss() {
  echo "consumers: cannot build $1: $2; the tests that need it are skipped" >&2
  failed=1
}

command -v go >/dev/null || { miss "the readers of rendered configuration" "Go is not installed"; exit 1; }
mkdir -p "$OUT/schemas"

mkdir -p "$CLIENTS/bin"
for name in k3s buildkit composer; do
  ln -sfn "../consumers/$name" "$CLIENTS/bin/consume-$name"
  [ -x "$OUT/$name" ] && continue
  echo "consumers: building the reader of $name" >&2
  (cd "$ROOT/scripts/consumers/$name" && go build -o "$OUT/$name.part" . >"$OUT/log" 2>&1 && mv "$OUT/$name.part" "$OUT/$name") ||
    miss "$name" "$(tail -n 1 "$OUT/log")"
done

# module MODULE@VERSION: prints the folder of a downloaded module.
module() { go mod download -json "$1" 2>/dev/null | sed -n 's/^\t"Dir": "\(.*\)",\?$/\1/p'; }
if [ ! -e "$OUT/schemas/talos.json" ]; then
  dir=$(module "$TALOS")
  [ -n "$dir" ] && install -m 644 "$dir/config/schemas/config.schema.json" "$OUT/schemas/talos.json" || miss "$TALOS" "no such module"
fi
for kind in digest tag; do
  [ -e "$OUT/schemas/openshift-$kind.yaml" ] && continue
  dir=$(module "$OPENSHIFT")
  [ -n "$dir" ] && install -m 644 "$dir/config/v1/0000_10_config-operator_01_image${kind}mirrorset.crd.yaml" \
    "$OUT/schemas/openshift-$kind.yaml" || miss "$OPENSHIFT" "no such module"
done
exit $failed
