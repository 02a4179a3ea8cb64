# Sourced by scripts/os-build: a Debian, whose build is recorded and runs again from its bundle alone.
programs mmdebstrap:mmdebstrap mke2fs:e2fsprogs qemu-system-x86_64:qemu-system-x86 unshare:util-linux ip:iproute2 sfdisk:fdisk

# The build, which knows nothing of airferry: this machine's own sources, as they are.
. /etc/os-release
sources=/etc/apt/sources.list.d/debian.sources
[ -e "$sources" ] || sources=/etc/apt/sources.list
cat >build.sh <<BUILD
set -e
rm -f system.tar
mmdebstrap --quiet --mode=root --variant=minbase --include=linux-image-cloud-amd64,grub-pc-bin,systemd-sysv,udev \\
  --aptopt='Acquire::Languages "none"' --aptopt='Acquire::Check-Valid-Until "false"' \\
  --customize-hook='echo airferry-built >"\$1/etc/hostname"' --customize-hook='chroot "\$1" passwd -d root' \\
  $VERSION_CODENAME system.tar $sources
BUILD
listing() { tar -tf "$1" | sort; }
packages() { tar -xOf "$1" ./var/lib/dpkg/status | grep -E '^(Package|Version):'; }

airferry record --out os.yaml -- sh build.sh
mv system.tar outside.tar
step "recorded $(du -m outside.tar | cut -f1) MiB of system"
airferry keygen --out site --quiet >/dev/null
bundle=$(airferry pack os.yaml --key site.key --quiet)
step "packed $(du -sm "$bundle" | cut -f1) MiB"
airferry rehearse "$bundle" --trust site.pub -- sh build.sh
step "built again without a network"
cmp <(packages outside.tar) <(packages system.tar)
cmp <(listing outside.tar) <(listing system.tar)
step "$(packages system.tar | grep -c ^Package:) packages, the same as outside; the same files"

mkdir root
tar -xf system.tar -C root --exclude='./dev/*'
cat >root/boot/grub.cfg <<GRUB
search.fs_label root root
linux $(cd root && ls -d boot/vmlinuz-* | sed 's|^|/|') root=LABEL=root rw console=ttyS0
initrd $(cd root && ls -d boot/initrd.img-* | sed 's|^|/|')
boot
GRUB
chroot root grub-mkimage -O i386-pc -p /boot/grub -c /boot/grub.cfg -o /boot/core.img \
  biosdisk part_msdos ext2 search_label linux
cp root/usr/lib/grub/i386-pc/boot.img root/boot/boot.img
disk root
boot airferry-built
