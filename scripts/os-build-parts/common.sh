# Sourced by scripts/os-build: what both systems need.

begun=$SECONDS
# step TEXT: says what was done since the last one, and how long that took.
step() {
  printf 'os-build: %-56s %4s s\n' "$1" "$((SECONDS - begun))"
  begun=$SECONDS
}

# programs NAME:PACKAGE…: installs the packages of missing programs; their services are not started.
programs() {
  local it missing=() policy=/usr/sbin/policy-rc.d made='' status=0
  for it in "$@"; do command -v "${it%%:*}" >/dev/null || missing+=("${it#*:}"); done
  [ "${#missing[@]}" -gt 0 ] || return 0
  apt-get -qq -o DPkg::Lock::Timeout=600 update >&2
  [ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy && made=1; }
  DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600 install --no-install-recommends -y "${missing[@]}" >/dev/null || status=$?
  [ -z "$made" ] || rm -f $policy
  return $status
}

# disk ROOT: makes disk.img as an installer leaves it, without loop devices: one partition with what is in the folder
# ROOT, and its own GRUB (boot/boot.img, boot/core.img) between that and the partition table.
disk() {
  local size=$(($(du -sm "$1" | cut -f1) * 5 / 4 + 100)) start=2048
  [ "$(stat -c %s "$1/boot/core.img")" -lt $(((start - 1) * 512)) ] || { echo "os-build: core.img is too large" >&2; return 1; }
  truncate -s $((size + 1))M disk.img
  sfdisk --quiet disk.img <<<"start=$start, type=83, bootable"
  mke2fs -q -t ext4 -L root -d "$1" -E offset=$((start * 512)) disk.img ${size}M
  dd if="$1/boot/boot.img" of=disk.img bs=440 count=1 conv=notrunc status=none
  dd if="$1/boot/core.img" of=disk.img bs=512 seek=1 conv=notrunc status=none
  step "made a disk of $size MiB that boots by itself"
}

# boot HOST: starts disk.img in qemu, which gets nothing else, until HOST asks for a login.
boot() {
  local prompt=''
  # KVM may be there and not work, as in some virtual machines: then qemu ends, or its guest says nothing.
  if [ -w /dev/kvm ]; then try_boot "$1" kvm 20; fi
  [ -n "$prompt" ] || try_boot "$1" tcg,thread=multi 120
  if [ -z "$prompt" ]; then
    cat qemu.log >&2
    tail -n 20 boot.log >&2
    echo "os-build: no login prompt of $1" >&2
    return 1
  fi
  step "booted to: $prompt"
}

# try_boot HOST ACCELERATOR SECONDS: sets prompt. The guest must say something in the first SECONDS, and end in ten minutes.
try_boot() {
  local until=$((SECONDS + $3))
  : >boot.log
  timeout 600 qemu-system-x86_64 -accel "$2" -cpu max -smp 1 -m 768 -M q35 -nodefaults -no-reboot -display none \
    -drive file=disk.img,format=raw,if=virtio,cache=unsafe -serial file:boot.log </dev/null >qemu.log 2>&1 &
  qemu=$!
  while kill -0 "$qemu" 2>/dev/null && ! grep -aqE "^$1 login:|Kernel panic|emergency mode" boot.log; do
    [ -s boot.log ] || [ $SECONDS -lt $until ] || break
    sleep 0.5
  done 2>/dev/null
  prompt=$(grep -ao "^$1 login:" boot.log) || true
  kill "$qemu" 2>/dev/null || true
  wait "$qemu" 2>/dev/null || true
  qemu=''
}
