#!/usr/bin/env bash
# Unpacks a Linux kernel of this Debian release to .cache/clients/kernel/vmlinuz, for the rehearsal's network boot.
# Nothing is installed. Needs apt. Idempotent.
set -euo pipefail
ROOT=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.." && pwd)
OUT=$ROOT/.cache/clients/kernel
[ -s "$OUT/vmlinuz" ] && exit 0
mkdir -p "$OUT"
exec 7>"$OUT/lock"
flock 7
[ -s "$OUT/vmlinuz" ] && exit 0
work=$(mktemp -d "$OUT/get.XXXXXX")
trap 'rm -rf "$work"' EXIT
named() { apt-cache depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1; }
package=$(named)
# The machine's package lists are missing, or older than the current kernel.
fetch() { (cd "$work" && chmod 755 . && apt-get -qq -o APT::Sandbox::User=root download "$package" 2>/dev/null); }
if [ -z "$package" ] || ! fetch; then
  apt-get -qq -o DPkg::Lock::Timeout=600 update >&2
  package=$(named)
fi
[ -n "$package" ] || { echo "kernel: this release has no linux-image-cloud-amd64" >&2; exit 1; }
ls "$work"/*.deb >/dev/null 2>&1 || fetch || { echo "kernel: cannot download $package" >&2; exit 1; }
(cd "$work" && dpkg-deb -x ./*.deb unpacked)
cp "$work"/unpacked/boot/vmlinuz-* "$OUT/vmlinuz"
