#!/bin/sh
# Makes its mount namespace look to a build like a freshly installed Enterprise Linux machine: an unprepared /etc, the
# CAs at their paths, and nothing of the rehearsal's folder. Prints "ready" and waits until its input ends. Usage:
# guest-init.sh WORK HIDDEN HOST/PORT
set -eu
work=$1 hidden=$2 vcenter=$3
mount -t tmpfs tmpfs "$work"
overlay() {
  mkdir -p "$work$1.upper" "$work$1.work"
  mount -t overlay overlay -o "lowerdir=$1,upperdir=$work$1.upper,workdir=$work$1.work" "$1"
}
overlay /etc
overlay /usr/local/bin
overlay /usr/sbin
for folder in /run /var/lib/containerd; do
  mkdir -p "$folder"
  mount -t tmpfs tmpfs "$folder"
done
mkdir -p /run/sshd
mount -t tmpfs -o mode=0700 tmpfs "$hidden"

# The machine does not see this host's distribution, nor its configuration.
rm -rf /etc/containerd /etc/containers /etc/docker /etc/yum.repos.d /etc/pki /etc/ssl/certs /etc/apt /etc/dnf /etc/sudoers.d
mkdir -p /etc/yum.repos.d /etc/sudoers.d /etc/containerd
# Enterprise Linux has one bundle, which update-ca-trust generates from the anchors, and links to it.
mkdir -p /etc/pki/ca-trust/source/anchors /etc/pki/ca-trust/extracted/pem /etc/pki/tls/certs /etc/ssl
ln -s /etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem /etc/pki/tls/certs/ca-bundle.crt
ln -s /etc/pki/tls/certs /etc/ssl/certs
printf '%s\n' '#!/bin/sh' 'bundle=/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem' \
  'cat /etc/pki/ca-trust/source/anchors/* >$bundle.new 2>/dev/null || :' 'mv $bundle.new $bundle' >/usr/local/bin/update-ca-trust
chmod 755 /usr/local/bin/update-ca-trust
update-ca-trust
# Notify the vCenter, if there is one, of powering off.
rm -f /usr/sbin/halt /usr/sbin/shutdown
printf '%s\n' '#!/bin/bash' ': >/dev/tcp/'"$vcenter" >/usr/sbin/halt
chmod 755 /usr/sbin/halt
cp /usr/sbin/halt /usr/sbin/shutdown
printf '%s\n' '[mirror]' 'name=a public mirror' 'baseurl=https://mirror.example.com/' >/etc/yum.repos.d/public.repo
echo ready
cat >/dev/null
