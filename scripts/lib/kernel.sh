#!/usr/bin/env bash
# Unpacks a Linux kernel of this Debian release to .cache/clients/kernel/vmlinuz, for the rehearsal's network boot. Nothing is
# installed. Needs apt; does nothing twice.
set -euo pipefail
ROOT=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.." && pwd)
OUT=$ROOT/.cache/clients/kernel
[ -s "$OUT/vmlinuz" ] && exit 0
mkdir -p "$OUT"
work=$(mktemp -d "$OUT/get.XXXXXX")
trap 'rm -rf "$work"' EXIT
package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1)
[ -n "$package" ] || { echo "kernel: this release has no linux-image-cloud-amd64" >&2; exit 1; }
(cd "$work" && chmod 755 . && apt-get -qq -o APT::Sandbox::User=root download "$package" && dpkg-deb -x ./*.deb unpacked)
cp "$work"/unpacked/boot/vmlinuz-* "$OUT/vmlinuz"
