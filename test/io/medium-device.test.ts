/** What a medium is, from the files that udev and the kernel keep for everybody. */
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import t from "tap";
import { mediumDevice } from "../../src/io/medium-device.ts";
import { scratch } from "../fixtures/program.ts";

function system(files: Record<string, string>): string {
  const root = scratch(t);
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), text);
  }
  return root;
}

const UEVENT = "MAJOR=8\nMINOR=17\nDEVNAME=sdb1\nDEVTYPE=partition\n";

t.test("udev's own record says the most", async (t) => {
  const root = system({
    "sys/dev/block/8:17/uevent": UEVENT,
    "run/udev/data/b8:17":
      "I:1\nE:ID_SERIAL=SanDisk_Ultra_123-0:0\nE:ID_SERIAL_SHORT=4C530001\nE:ID_FS_LABEL=FERRY-7\n",
  });
  t.strictSame(await mediumDevice("/", { root, number: "8:17" }), {
    device: "sdb1",
    label: "FERRY-7",
    serial: "4C530001",
  });
});

t.test("without it the links of labels and the disk of a partition do", async (t) => {
  const root = system({
    "sys/devices/usb/sdb/sdb1/uevent": UEVENT,
    "sys/devices/usb/sdb/device/serial": "XYZ 9\n",
    "dev/sdb1": "",
    "dev/disk/by-label/other": "",
  });
  mkdirSync(join(root, "sys/dev/block"), { recursive: true });
  symlinkSync("../../devices/usb/sdb/sdb1", join(root, "sys/dev/block/8:17"));
  symlinkSync("../../sdb1", join(root, "dev/disk/by-label/MY\\x20DISC\\xc3\\xa9"));
  t.strictSame(await mediumDevice("/", { root, number: "8:17" }), {
    device: "sdb1",
    label: "MY DISCé",
    serial: "XYZ 9",
  });
});

t.test("a label is foreign text", async (t) => {
  const root = system({
    "sys/dev/block/8:17/uevent": UEVENT,
    "run/udev/data/b8:17": `E:ID_FS_LABEL=\u001b[31m\u202e${"x".repeat(500)}\n`,
  });
  const { label = "" } = await mediumDevice("/", { root, number: "8:17" });
  t.ok(label.startsWith("\\u{1b}[31m\\u{202e}xxx"));
  t.ok(label.length <= 65);
});

t.test("what the system does not tell is absent", async (t) => {
  t.strictSame(await mediumDevice("/nowhere/at/all"), {});
  t.strictSame(await mediumDevice("/proc"), {}, "no device");
  t.strictSame(await mediumDevice("/", { root: system({}), number: "8:17" }), {});
});
