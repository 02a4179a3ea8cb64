#!/usr/bin/env bash
# Installs the real client programs that the interop tests drive; run by scripts/test. Needs root on a Debian-family
# host. Installs with apt what this release has. Unpacks single programs of newer suites of the same mirror (from the
# machine's own apt configuration, with a private apt state) under .cache/clients/, with a command each in
# .cache/clients/bin. Idempotent, and quick when everything is installed. Prints a line for each unavailable client, and
# then ends with exit status 1.
set -uo pipefail
ROOT=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.." && pwd)
CLIENTS=$ROOT/.cache/clients
BIN=$CLIENTS/bin
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
failed=0

say() { echo "clients: $*" >&2; }
miss() {
  say "cannot install $1: $2; the tests that need it are skipped"
  failed=1
}

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  say "not root on a Debian-family host: nothing installed, tests use the programs on PATH"
  exit 1
fi
mkdir -p "$BIN" "$CLIENTS/unpacked" "$CLIENTS/newer"
exec 8>"$CLIENTS/lock"
flock 8

# dnf-plugins-core and zypper exclude each other.
PACKAGES="curl wget aria2 nginx-light apache2-bin wrk xorriso isomd5sum libarchive-tools gnupg gpgv openssl dnf rpm createrepo-c
  dnf-plugins-core podman runc crun skopeo buildah docker-registry ansible-core packer qemu-system-x86 qemu-utils
  qemu-block-extra virtinst chromium iproute2 time jq python3-jsonschema python3-solv python3-yaml python3-venv zstd xz-utils squashfs-tools genisoimage ca-certificates patchelf
  openssh-server sudo strace man-db binutils prometheus clamav systemd-container logrotate tmux zsh fish fdisk tinyproxy-bin par2 rclone"
# Unpacked, not installed: only their files are needed, or installing them would replace something.
UNPACKED="grub-rescue-pc ipxe ipxe-qemu memtest86+ golang-github-vmware-photon-controller-go-sdk-dev busybox-static
  etcd-server"

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }
updated=
update_once() {
  [ -n "$updated" ] && return
  updated=1
  apt-get -qq -o DPkg::Lock::Timeout=600 update >/dev/null 2>"$CLIENTS/apt.log" || say "apt-get update: $(tail -n 1 "$CLIENTS/apt.log")"
}
# Packages must not start their services: tests start what they need themselves, on their own ports.
install() {
  local policy=/usr/sbin/policy-rc.d made= status
  [ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy && made=1; }
  apt-get -qq -y -o DPkg::Lock::Timeout=600 -o Dpkg::Options::=--force-confold install --no-install-recommends "$@" \
    >"$CLIENTS/apt.log" 2>&1 8>&-
  status=$?
  [ -n "$made" ] && rm -f $policy
  return $status
}

wanted=()
for package in $PACKAGES; do installed "$package" || wanted+=("$package"); done
command -v busybox >/dev/null || wanted+=(busybox)
if [ ${#wanted[@]} -gt 0 ]; then
  say "installing ${wanted[*]}"
  update_once
  if ! install "${wanted[@]}"; then
    for package in "${wanted[@]}"; do
      installed "$package" || install "$package" || miss "$package" "$(grep -m1 '^E:' "$CLIENTS/apt.log" || tail -n 1 "$CLIENTS/apt.log")"
    done
  fi
fi

# unpack FOLDER PACKAGE APT-OPTIONS...: downloads one package and unpacks it below FOLDER, once.
unpack() {
  local folder=$1 package=$2 stamp work
  shift 2
  stamp=$folder/.have-$package
  [ -e "$stamp" ] && return
  work=$(mktemp -d "$CLIENTS/get.XXXXXX") && chmod 755 "$work"
  if (cd "$work" && apt-get -qq "$@" -o APT::Sandbox::User=root download "$package" >"$CLIENTS/apt.log" 2>&1) &&
    dpkg-deb -x "$work"/*.deb "$folder" 2>>"$CLIENTS/apt.log"; then
    touch "$stamp"
  else
    miss "$package" "$(tail -n 1 "$CLIENTS/apt.log")"
  fi
  rm -rf "$work"
}

for package in $UNPACKED; do
  [ -e "$CLIENTS/unpacked/.have-$package" ] || update_once
  unpack "$CLIENTS/unpacked" "$package"
done

# containerd of this release, an old version with the old configuration, beside the newer one and under other names.
[ -e "$CLIENTS/containerd-1/.have-containerd" ] || { mkdir -p "$CLIENTS/containerd-1" && update_once; }
unpack "$CLIENTS/containerd-1" containerd

# docker of this release, which accepts no path in a mirror's URL, like that of EL 8 hosts.
mkdir -p "$CLIENTS/docker-20"
[ -e "$CLIENTS/docker-20/.have-docker.io" ] || update_once
unpack "$CLIENTS/docker-20" docker.io

# zypper and what it needs: its package cannot be installed beside dnf's plugins.
mkdir -p "$CLIENTS/zypper"
for package in zypper zypper-common libzypp1722 libzypp-common libzypp-config libzypp-bin libaugeas0 libboost-thread1.74.0 \
  libproxy1v5 libsigc++-2.0-0v5 libsolv1 libsolvext1 libsolv-tools libyaml-cpp0.7 libgpgme11; do
  [ -e "$CLIENTS/zypper/.have-$package" ] || update_once
  unpack "$CLIENTS/zypper" "$package"
done
if [ -x "$CLIENTS/zypper/usr/bin/zypper" ]; then
  cat >"$BIN/zypper" <<'WRAPPER'
#!/bin/sh
root=$(dirname "$(readlink -f "$0")")/../zypper
libraries=$(echo "$root"/usr/lib/*-linux-gnu)
LD_LIBRARY_PATH=$libraries PATH=$root/usr/bin:$PATH ZYPP_CONF=$root/etc/zypp/zypp.conf exec "$root/usr/bin/zypper" "$@"
WRAPPER
  chmod +x "$BIN/zypper"
  # libzypp calls the script that this program replaced; the options are the same.
  ln -sf repo2solv "$CLIENTS/zypper/usr/bin/repo2solv.sh"
fi

# ksvalidator: the installer's own parser of kickstart files, in a separate Python environment.
if [ ! -x "$CLIENTS/pykickstart/bin/ksvalidator" ]; then
  rm -rf "$CLIENTS/pykickstart.part"
  if python3 -m venv "$CLIENTS/pykickstart.part" >"$CLIENTS/pip.log" 2>&1 &&
    "$CLIENTS/pykickstart.part/bin/pip" install -q --disable-pip-version-check pykickstart==3.78 >"$CLIENTS/pip.log" 2>&1; then
    rm -rf "$CLIENTS/pykickstart" && mv "$CLIENTS/pykickstart.part" "$CLIENTS/pykickstart"
  else
    miss ksvalidator "$(tail -n 1 "$CLIENTS/pip.log")"
  fi
fi
if [ -x "$CLIENTS/pykickstart/bin/ksvalidator" ]; then
  cat >"$BIN/ksvalidator" <<'WRAPPER'
#!/bin/sh
# Its first line names the folder that it was created in.
root=$(dirname "$(readlink -f "$0")")/../pykickstart
exec "$root/bin/python3" "$root/bin/ksvalidator" "$@"
WRAPPER
  chmod +x "$BIN/ksvalidator"
fi

# kubernetes-validate and a package of the Prometheus operator's types: the schemas of what packaging/chart makes.
if [ ! -x "$CLIENTS/kubernetes-validate/bin/kubernetes-validate" ]; then
  rm -rf "$CLIENTS/kubernetes-validate.part"
  if python3 -m venv "$CLIENTS/kubernetes-validate.part" >"$CLIENTS/pip.log" 2>&1 &&
    "$CLIENTS/kubernetes-validate.part/bin/pip" install -q --disable-pip-version-check kubernetes-validate==1.37.0 >"$CLIENTS/pip.log" 2>&1; then
    rm -rf "$CLIENTS/kubernetes-validate" && mv "$CLIENTS/kubernetes-validate.part" "$CLIENTS/kubernetes-validate"
  else
    miss kubernetes-validate "$(tail -n 1 "$CLIENTS/pip.log")"
  fi
fi
if [ -x "$CLIENTS/kubernetes-validate/bin/kubernetes-validate" ]; then
  cat >"$BIN/kubernetes-validate" <<'WRAPPER'
#!/bin/sh
root=$(dirname "$(readlink -f "$0")")/../kubernetes-validate
exec "$root/bin/python3" "$root/bin/kubernetes-validate" "$@"
WRAPPER
  chmod +x "$BIN/kubernetes-validate"
fi
OPERATOR=$CLIENTS/prometheus-operator/node_modules/@kubernetes-models/prometheus-operator
if [ ! -e "$OPERATOR/package.json" ]; then
  mkdir -p "$CLIENTS/prometheus-operator"
  timeout 300 npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$CLIENTS/prometheus-operator" \
    @kubernetes-models/prometheus-operator@6.0.0 >"$CLIENTS/npm.log" 2>&1 || miss prometheus-operator "$(tail -n 1 "$CLIENTS/npm.log")"
fi

# Newer suites: the same mirror and keyring as this release's own, under another suite name.
newer_options() {
  local suite=$1 base state=$CLIENTS/apt/$1 sources
  sources=$state/sources.list
  if [ ! -e "$state/ready" ]; then
    base=$(. /etc/os-release && apt-get indextargets --format '$(CODENAME)|$(REPO_URI)|$(COMPONENT)' 'Created-By: Packages' |
      awk -F'|' -v code="${VERSION_CODENAME:-}" '$1 == code && $3 == "main" { print $2; exit }')
    [ -n "$base" ] || { say "no mirror of this release in the apt configuration"; return 1; }
    mkdir -p "$state/lists/partial" "$state/archives/partial"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $base $suite main" >"$sources"
  fi
  options=(-o "Dir::Etc::SourceList=$sources" -o "Dir::Etc::SourceParts=-" -o "Dir::State::Lists=$state/lists"
    -o "Dir::Cache=$state" -o "Dir::Cache::archives=$state/archives" -o Acquire::Languages=none -o APT::Sandbox::User=root
    -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false)
  if [ ! -e "$state/ready" ]; then
    say "reading the package list of $suite"
    apt-get -qq "${options[@]}" update >"$CLIENTS/apt.log" 2>&1 || { say "apt-get update for $suite: $(tail -n 1 "$CLIENTS/apt.log")"; return 1; }
    touch "$state/ready"
  fi
}

# newer SUITE FOLDER PACKAGE...: unpacks packages of another suite.
newer() {
  local suite=$1 folder=$2 package options=() missing=
  shift 2
  mkdir -p "$folder"
  for package in "$@"; do [ -e "$folder/.have-$package" ] || missing=1; done
  [ -n "$missing" ] || return
  newer_options "$suite" || { miss "$*" "no package list of $suite"; return; }
  for package in "$@"; do unpack "$folder" "$package" "${options[@]}"; done
}

# command NAME TARGET: a command in bin that runs an unpacked program with its own helpers first on PATH.
command_for() {
  local name=$1 target=$2
  [ -x "$CLIENTS/$target" ] || return
  rm -f "$BIN/$name"
  cat >"$BIN/$name" <<WRAPPER
#!/bin/sh
clients=\$(dirname "\$(readlink -f "\$0")")/..
PATH=\$clients/${target%%/usr/*}/usr/sbin:\$clients/${target%%/usr/*}/usr/bin:\$PATH exec "\$clients/$target" "\$@"
WRAPPER
  chmod +x "$BIN/$name"
}

newer trixie "$CLIENTS/cosign2" cosign
newer sid "$CLIENTS/cosign3" cosign
newer sid "$CLIENTS/newer" oras crane docker.io docker-cli containerd
# Debian builds podman and skopeo of this release without cosign's signatures. Newer ones need a newer C library, which
# is unpacked beside them.
newer trixie "$CLIENTS/trixie" podman skopeo netavark libc6 libgpgme11t64 libassuan9 libgpg-error0 libseccomp2 libsqlite3-0 libsubid5
# OpenSSL of this release knows no post-quantum keys.
newer trixie "$CLIENTS/trixie" openssl libssl3t64 zlib1g libzstd1
for name in podman skopeo openssl; do
  program=$CLIENTS/trixie/usr/bin/$name libraries=$(echo "$CLIENTS"/trixie/usr/lib/*-linux-gnu)
  [ -x "$program" ] && command -v patchelf >/dev/null || continue
  # The loader's path changes when the checkout is moved.
  if [ "$(patchelf --print-rpath "$program.own" 2>/dev/null)" != "$libraries" ]; then
    cp "$program" "$program.part" &&
      patchelf --set-interpreter "$(echo "$libraries"/ld-linux*.so.*)" --force-rpath --set-rpath "$libraries" "$program.part" &&
      mv "$program.part" "$program.own" || { miss "newer $name" "patchelf failed"; continue; }
  fi
  cat >"$BIN/newer-$name" <<'WRAPPER'
#!/bin/sh
clients=$(dirname "$(readlink -f "$0")")/..
export CONTAINERS_CONF_OVERRIDE="$clients/trixie/containers.conf" PODMAN_IGNORE_CGROUPSV1_WARNING=1
WRAPPER
  echo "exec \"\$clients/trixie/usr/bin/$name.own\" \"\$@\"" >>"$BIN/newer-$name"
  chmod +x "$BIN/newer-$name"
  printf '[engine]\nhelper_binaries_dir = ["%s"]\n' "$CLIENTS/trixie/usr/lib/podman" >"$CLIENTS/trixie/containers.conf"
done
command_for cosign2 cosign2/usr/bin/cosign
command_for cosign3 cosign3/usr/bin/cosign
[ -x "$BIN/cosign3" ] && ln -sf cosign3 "$BIN/cosign"
for name in oras crane docker containerd ctr containerd-shim-runc-v2; do command_for $name newer/usr/bin/$name; done
for name in containerd ctr; do command_for $name-1 containerd-1/usr/bin/$name; done
command_for dockerd-20 docker-20/usr/sbin/dockerd
for name in dockerd docker-proxy docker-init; do
  for folder in sbin bin libexec/docker; do
    if [ -x "$CLIENTS/newer/usr/$folder/$name" ]; then command_for $name "newer/usr/$folder/$name"; break; fi
  done
done
command_for busybox-static unpacked/bin/busybox
command_for etcd unpacked/usr/bin/etcd

# An unpacked program of a newer suite may need a newer C library than this host has.
for name in cosign2 cosign3 oras crane docker dockerd containerd ctr containerd-1 ctr-1 dockerd-20 newer-podman newer-skopeo newer-openssl; do
  [ -x "$BIN/$name" ] && [ ! -e "$CLIENTS/.runs-$name" ] || continue
  "$BIN/$name" --version >/dev/null 2>"$CLIENTS/apt.log" || "$BIN/$name" version >/dev/null 2>"$CLIENTS/apt.log" || {
    miss "$name" "it does not run here: $(head -n 1 "$CLIENTS/apt.log")"
    rm -f "$BIN/$name"
    continue
  }
  touch "$CLIENTS/.runs-$name"
done
exit $failed
