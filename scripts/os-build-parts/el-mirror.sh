#!/usr/bin/env bash
# Makes what an EL's mirror has, in the current folder: makes RPMs of Debian packages, signs them, puts them into two
# repositories with signed metadata (BaseOS, with groups, and AppStream), and makes a DVD of these. Arguments: the
# parts' folder, the folder with the .deb files. Leaves everything in mirror/, below the key of the distribution.
set -euo pipefail
parts=$1 debs=$2
mkdir -m 700 gpg
export GNUPGHOME=$PWD/gpg
trap 'gpgconf --kill all' EXIT
gpg --batch --quiet --passphrase '' --quick-gen-key 'Mini EL <release@minel.example>' rsa3072 sign never
mkdir -p rpms mirror/9/isos mirror/9/BaseOS/Packages mirror/9/AppStream/Packages
gpg --armor --export >mirror/RPM-GPG-KEY-minel

node --disable-warning=ExperimentalWarning "$parts/rpms-of-debs.ts" "$PWD/rpms" "$parts/minel" "$debs"/*.deb
mv rpms/rpms/*.rpm mirror/9/BaseOS/Packages
mv mirror/9/BaseOS/Packages/{sed,grep,libpcre2-8-0}-[0-9]*.rpm mirror/9/AppStream/Packages
rm -rf rpms
rpm --define '_gpg_name release@minel.example' --define "__gpg $(command -v gpg)" --addsign mirror/9/*/Packages/*.rpm >sign.log 2>&1 ||
  { cat sign.log >&2; exit 1; }

group() { sed 's|.*|<packagereq type="mandatory">&</packagereq>|'; }
cat >comps.xml <<COMPS
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE comps PUBLIC "-//Red Hat, Inc.//DTD Comps info//EN" "comps.dtd">
<comps>
<group><id>core</id><name>Core</name><description/><default>true</default><uservisible>true</uservisible><packagelist>
$(printf '%s\n' minel-release bash coreutils util-linux login systemd-sysv udev kmod mount hostname sed grep libpam-modules | group)
</packagelist></group>
<environment><id>minimal-environment</id><name>Minimal Install</name><description/><display_order>1</display_order>
<grouplist><groupid>core</groupid></grouplist></environment>
</comps>
COMPS
for it in BaseOS AppStream; do
  createrepo_c --quiet $([ $it = AppStream ] || echo --groupfile="$PWD/comps.xml") mirror/9/$it
  gpg --batch --quiet --armor --detach-sign mirror/9/$it/repodata/repomd.xml
done
cat >mirror/9/.treeinfo <<TREE
[header]
type = productmd.treeinfo
version = 1.2
[release]
name = Mini EL
short = minel
version = 9
[tree]
arch = x86_64
build_timestamp = $(date +%s)
platforms = x86_64
variants = AppStream,BaseOS
$(for it in AppStream BaseOS; do printf '%s\n' "[variant-$it]" "id = $it" "name = $it" "packages = $it/Packages" "repository = $it" "type = variant" "uid = $it"; done)
TREE
iso=minel-9-x86_64-dvd.iso
xorriso -as mkisofs -quiet -r -J -joliet-long -V MINEL-9 -o mirror/9/isos/$iso -graft-points \
  /BaseOS=mirror/9/BaseOS /AppStream=mirror/9/AppStream /.treeinfo=mirror/9/.treeinfo /RPM-GPG-KEY-minel=mirror/RPM-GPG-KEY-minel 2>xorriso.log ||
  { cat xorriso.log >&2; exit 1; }
(cd mirror/9/isos && sha256sum --tag $iso | gpg --batch --quiet --clear-sign >CHECKSUM)
