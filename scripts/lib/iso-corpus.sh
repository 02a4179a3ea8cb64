#!/usr/bin/env bash
# Collects real ISO images for test/iso/image-corpus.test.ts into .cache/iso-corpus: those of Debian packages, and the
# test data of the libarchive and libcdio source packages. Needs root and apt on Debian. Idempotent.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
OUT=$ROOT/.cache/iso-corpus
[ -f "$OUT/.complete" ] && exit 0
mkdir -p "$OUT"
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
. /etc/os-release
mkdir -p "$WORK/parts" "$WORK/lists/partial" "$WORK/cache/archives/partial"
# The mirror that this machine's own apt configuration names for its release.
MIRROR=$(apt-get indextargets --format '$(CODENAME)|$(REPO_URI)|$(COMPONENT)' 'Created-By: Packages' |
  awk -F'|' -v code="$VERSION_CODENAME" '$1 == code && $3 == "main" { print $2; exit }')
[ -n "$MIRROR" ] || { echo "iso-corpus: no mirror of $VERSION_CODENAME in the apt configuration" >&2; exit 1; }
printf 'Types: deb deb-src\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n' \
  "$MIRROR" "$VERSION_CODENAME" >"$WORK/parts/corpus.sources"
APT=(apt-get -qq -o "Dir::Etc::SourceList=/dev/null" -o "Dir::Etc::SourceParts=$WORK/parts" -o "Dir::State::Lists=$WORK/lists"
  -o "Dir::Cache=$WORK/cache" -o "APT::Sandbox::User=root")
cd "$WORK"
"${APT[@]}" update
for package in grub-rescue-pc ipxe memtest86+ golang-github-vmware-photon-controller-go-sdk-dev; do
  "${APT[@]}" download "$package" || continue
  dpkg-deb -x "$package"_*.deb unpacked
done
[ ! -d unpacked ] || find unpacked -name '*.iso' -exec cp {} "$OUT/" \;
# Only the upstream tarball is needed; a source package's debian part may be gone from the mirror.
for package in libcdio libarchive; do
  "${APT[@]}" source --tar-only --download-only "$package" || true
  for tarball in "$package"_*.orig.tar.*; do
    case $tarball in *.asc | *'*') continue ;; esac
    tar -xf "$tarball" && touch "have-$package"
  done
  [ -e "have-$package" ] || echo "iso-corpus: the source of $package is unavailable; its images are skipped" >&2
done
cp libcdio-*/test/data/*.iso "$OUT/" 2>/dev/null || true
for file in libarchive-*/libarchive/test/*iso*.uu; do
  [ -e "$file" ] || continue
  name=$(basename "$file" .uu)
  python3 - "$file" "$OUT/$name" <<'PY'
import binascii, sys
lines = open(sys.argv[1], "rb").read().split(b"\n")
start = next(i for i, line in enumerate(lines) if line.startswith(b"begin "))
out = open(sys.argv[2], "wb")
for line in lines[start + 1:]:
    if line.strip() == b"end":
        break
    out.write(binascii.a2b_uu(line))
PY
  case $name in *.Z) gzip -df "$OUT/$name" ;; *.bz2) bzip2 -df "$OUT/$name" ;; esac
done
# The next run tries missing images again; the tests use the available ones.
if [ -e have-libcdio ] && [ -e have-libarchive ]; then touch "$OUT/.complete"; fi
