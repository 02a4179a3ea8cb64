/**
 * A small initial ramdisk in the cpio newc format: busybox, and an init that prints the kernel's command line and
 * powers off.
 */
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

/** What the init prints before the kernel's command line. */
export const BOOTED = "airferry rehearsal booted:";

/** Creates the ramdisk with a statically linked busybox. */
export function makeInitrd(busybox: string): Buffer {
  const init = `#!/bin/busybox sh
/bin/busybox mkdir -p /proc
/bin/busybox mount -t proc proc /proc
echo "${BOOTED} $(/bin/busybox cat /proc/cmdline)"
/bin/busybox sync
/bin/busybox poweroff -f
`;
  return gzipSync(
    Buffer.concat([
      entry("dev", 0o40755, Buffer.alloc(0)),
      entry("dev/console", 0o20600, Buffer.alloc(0), [5, 1]),
      entry("bin", 0o40755, Buffer.alloc(0)),
      entry("bin/busybox", 0o100755, readFileSync(busybox)),
      entry("init", 0o100755, Buffer.from(init)),
      entry("TRAILER!!!", 0, Buffer.alloc(0)),
    ]),
  );
}

let inode = 1;

/** @see initramfs buffer format, Documentation/driver-api/early-userspace/buffer-format.rst */
function entry(name: string, mode: number, content: Buffer, [major, minor] = [0, 0]): Buffer {
  const fields = [inode++, mode, 0, 0, 1, 0, content.length, 0, 0, major!, minor!, name.length + 1, 0];
  const head = Buffer.from(`070701${fields.map((it) => it.toString(16).padStart(8, "0")).join("")}${name}\0`);
  return Buffer.concat([head, pad(head.length), content, pad(content.length)]);
}

function pad(length: number): Buffer {
  return Buffer.alloc((4 - (length % 4)) % 4);
}
