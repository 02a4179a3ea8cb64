# Sourced by scripts/os-build: an EL-like system, built by dnf from upstream's own name: recorded, and from a manifest.
programs dnf:dnf rpmbuild:rpm createrepo_c:createrepo-c gpg:gnupg xorriso:xorriso openssl:openssl nginx:nginx-light \
  curl:curl mke2fs:e2fsprogs qemu-system-x86_64:qemu-system-x86 unshare:util-linux ip:iproute2 sfdisk:fdisk
bash "$ROOT/scripts/lib/minel-debs.sh"
begun=$SECONDS

# Upstream: a distribution of its own, on a web server of its own name, which only the lab can reach.
bash "$PARTS/el-mirror.sh" "$PARTS" "$ROOT/.cache/clients/minel-debs"
step "made $(ls mirror/9/*/Packages | grep -c 'rpm$') RPMs and a DVD of $(du -m mirror/9/isos/*.iso | cut -f1) MiB"
host=dl.minel.example
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 2 -subj "/CN=lab" -keyout lab.key -out lab.crt 2>/dev/null
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 2 -subj "/CN=$host" -addext "subjectAltName=DNS:$host" \
  -addext basicConstraints=critical,CA:FALSE -CA lab.crt -CAkey lab.key -keyout host.key -out host.crt 2>/dev/null
echo "127.0.0.1 localhost $host" >hosts
cat >nginx.conf <<NGINX
user root;
worker_processes 1;
pid nginx.pid;
error_log nginx.log;
events {}
http {
  access_log off;
  server {
    listen 443 ssl;
    server_name $host;
    ssl_certificate host.crt;
    ssl_certificate_key host.key;
    root mirror;
  }
}
NGINX
lab() { bash "$PARTS/el-lab.sh" "$@"; }

# The build, which knows nothing of airferry.
# repositories URL KEY: the part of dnf's configuration below the [main] of both builds.
repositories() {
  local it
  printf '%s\n' '[main]' plugins=0 reposdir=/dev/null install_weak_deps=0
  for it in BaseOS AppStream; do
    printf '%s\n' "[${it,,}]" "name=Mini EL 9 - $it" "baseurl=$1/$it/" gpgcheck=1 repo_gpgcheck=1 "gpgkey=$2"
  done
}
repositories https://$host/9 https://$host/RPM-GPG-KEY-minel >dnf.conf
cat >build.sh <<'BUILD'
set -e
rm -rf root
dnf -y -q --config=dnf.conf --installroot="$PWD/root" --releasever=9 install @minimal-environment >dnf.log
BUILD
# The same from the DVD, which the build downloads.
repositories "file://$PWD/dvd" "file://$PWD/dvd/RPM-GPG-KEY-minel" >dvd.conf
cat >build-dvd.sh <<'BUILD'
set -e
sh build.sh
curl -fsSO https://dl.minel.example/9/isos/minel-9-x86_64-dvd.iso
xorriso -osirrox on -indev minel-9-x86_64-dvd.iso -extract / dvd 2>xorriso.log
dnf -y -q --config=dvd.conf --installroot="$PWD/root-dvd" --releasever=9 install @minimal-environment >dnf.log
BUILD

packages() { rpm --root "$PWD/$1" -qa --queryformat '%{NEVRA} %{RSAHEADER:pgpsig}\n' | sort; }
# Names, owners and modes, without what dnf and rpm note of their own work.
listing() {
  local own='[^/]+/var/(log|(cache|lib)/(dnf|rpm))/.*'
  find "$1" -regextype posix-extended ! -regex "$own" -printf '%M %U:%G %P %l\n' | sort
}
# same ROOT: fails unless the system in that folder is the one that was built outside, and is what its packages say.
same() {
  cmp <(packages outside) <(packages "$1")
  cmp <(listing outside) <(listing "$1")
  rpm --root "$PWD/$1" -Va
}

airferry keygen --out site --quiet >/dev/null
lab "$ROOT/scripts/airferry" record --ca lab.crt --out recorded.yaml -- sh build.sh
mv root outside
step "recorded a system of $(du -sm outside | cut -f1) MiB"
bundle=$(airferry pack recorded.yaml --key site.key --quiet)
airferry rehearse "$bundle" --trust site.pub -- sh build.sh
same root
step "built again from the recording: $(packages root | grep -c el9) packages, the same as outside"

cat >minel.yaml <<MANIFEST
apiVersion: airferry/v1
stream: minel-9
isos:
  - name: minel-9
    url: https://$host/9/isos/minel-9-x86_64-dvd.iso
    checksums: { url: "https://$host/9/isos/CHECKSUM", keys: ["https://$host/RPM-GPG-KEY-minel"] }
rpms:
  - { name: baseos, url: "https://$host/9/BaseOS/", keys: ["https://$host/RPM-GPG-KEY-minel"], repo_gpgcheck: true }
  - { name: appstream, url: "https://$host/9/AppStream/", keys: ["https://$host/RPM-GPG-KEY-minel"], repo_gpgcheck: true }
hosts:
  $host: { ca: lab.crt }
MANIFEST
bundle=$(lab "$ROOT/scripts/airferry" pack minel.yaml --key site.key --quiet)
mkdir medium
cp -r "$bundle" medium
airferry unpack medium/* --store store --trust site.pub --quiet
step "packed the DVD and both repositories, and carried them"
airferry rehearse --store store -- sh build-dvd.sh
same root
same root-dvd
step "built twice from them: under upstream's name, from the DVD"
disk root
boot minel
