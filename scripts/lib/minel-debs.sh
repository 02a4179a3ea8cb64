#!/usr/bin/env bash
# Downloads the Debian packages that scripts/os-build makes its EL-like distribution of, into .cache/clients/minel-debs:
# a system that boots, with what these packages depend on. Nothing is installed. Needs apt. Idempotent.
set -euo pipefail
ROOT=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.." && pwd)
OUT=$ROOT/.cache/clients/minel-debs
PACKAGES="base-files bash coreutils util-linux login systemd-sysv udev kmod mount hostname sed grep libpam-modules
  busybox-static linux-image-cloud-amd64 grub-pc-bin"
# What these need on Debian only: dpkg and configuration by it, and another initial ramdisk.
LEFT_OUT="dpkg debconf adduser libpam-runtime initramfs-tools initramfs-tools-core klibc-utils libklibc linux-base cpio tar mawk"
[ "$(cat "$OUT/.of" 2>/dev/null)" = "$PACKAGES $LEFT_OUT" ] && exit 0
mkdir -p "$(dirname "$OUT")"
exec 7>"$OUT.lock"
flock 7
[ "$(cat "$OUT/.of" 2>/dev/null)" = "$PACKAGES $LEFT_OUT" ] && exit 0
[ "$(dpkg --print-architecture)" = amd64 ] || { echo "minel-debs: needs amd64" >&2; exit 1; }
rm -rf "$OUT" "$OUT.part"
mkdir "$OUT.part"
trap 'rm -rf "$OUT.part"' EXIT
cd "$OUT.part"
chmod 755 .
: >.nothing-installed
apt() { apt-get -qq -o APT::Sandbox::User=root "$@"; }
names() {
  # shellcheck disable=SC2086
  apt -o Dir::State::status="$PWD/.nothing-installed" --print-uris --no-install-recommends install $PACKAGES |
    awk '{ sub(/_.*/, "", $2); print $2 }' | grep -vxF "$(printf '%s\n' $LEFT_OUT)"
}
# The machine's package lists are missing, or older than what the mirror has.
fetch() { apt download $(names 2>.log) >>.log 2>&1; }
fetch || { apt -o DPkg::Lock::Timeout=600 update >&2; fetch; } || { echo "minel-debs: $(tail -n 1 .log)" >&2; exit 1; }
rm -f .nothing-installed .log
echo "$PACKAGES $LEFT_OUT" >.of
mv "$OUT.part" "$OUT"
