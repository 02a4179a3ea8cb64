import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { open } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { Header } from "tar";
import { headerBytes, headerSize, layOut, paddedSize, TAR_MTIME, type TarItem } from "../../src/bundle/tar-layout.ts";
import { clientEnv, needs } from "../fixtures/clients.ts";

const item = (path: string, size = 0, mode: "0644" | "0755" = "0644"): TarItem => ({ path, size, mode });

t.test("headerBytes() gives the same bytes in every version", async (t) => {
  const header = headerBytes(item("files/a", 5, "0755"));
  t.equal(header.length, 512);
  t.equal(header.toString("latin1", 0, 8), "files/a\0");
  t.equal(header.toString("latin1", 100, 108), "0000755\0");
  t.equal(header.toString("latin1", 108, 124), "0000000\0".repeat(2));
  t.equal(header.toString("latin1", 124, 136), "00000000005\0");
  t.equal(header.toString("latin1", 136, 148), `${TAR_MTIME.toString(8).padStart(11, "0")}\0`);
  t.equal(header.toString("latin1", 156, 157), "0");
  t.equal(header.toString("latin1", 257, 265), "ustar\x0000");
  t.equal(
    header.subarray(265, 329).every((byte) => byte === 0),
    true,
    "no owner names",
  );
  const sum = [...header].reduce((total, byte, at) => total + (at >= 148 && at < 156 ? 32 : byte), 0);
  t.equal(header.toString("latin1", 148, 156), `${sum.toString(8).padStart(6, "0")}\0 `);
  t.equal(
    createHash("sha256")
      .update(headerBytes(item("files/a", 5)))
      .digest("hex"),
    "ff0909035332bb681e6f9311df34c9ee5ea2ea1584b02ad6f89d57c2ebd78794",
  );
  t.equal(
    createHash("sha256")
      .update(headerBytes(item(`${"d".repeat(120)}/${"n".repeat(130)}`, 9 * 1024 ** 3)))
      .digest("hex"),
    "89f612366a606dac7c486eebed367ee32a0dfdcd9a2a82d27e63a1cbf746855b",
  );
});

t.test("headerBytes() is read by node-tar as it was meant, for names of every length", async (t) => {
  for (let length = 1; length <= 300; length++) {
    for (const path of [
      "x".repeat(length),
      `${"dir/".repeat(Math.ceil(length / 4))}x`.slice(-length).replace(/^\//, "d"),
    ]) {
      if (path.split("/").some((it) => it === "" || it.length > 255)) continue;
      const bytes = headerBytes(item(path, 77));
      t.equal(bytes.length, headerSize(path));
      const main = new Header(bytes.subarray(-512));
      t.equal(main.cksumValid, true);
      t.equal(main.size, 77);
      if (bytes.length === 512) {
        if (main.path !== path) t.equal(main.path, path);
        continue;
      }
      const long = new Header(bytes.subarray(0, 512));
      t.equal(long.type, "NextFileHasLongPath");
      t.equal(long.size, path.length + 1);
      t.equal(bytes.toString("utf8", 512, 512 + path.length), path);
      t.equal(
        bytes.subarray(512 + path.length, -512).every((it) => it === 0),
        true,
      );
    }
  }
});

t.test("layOut() pads to whole blocks", async (t) => {
  const cases = new Map([
    [0, 0],
    [1, 512],
    [511, 512],
    [512, 512],
    [513, 1024],
  ]);
  for (const [size, padded] of cases) {
    t.equal(paddedSize(size), padded);
    const { places, streamSize } = layOut([item("a", size), item("b", 1)]);
    t.same(places, [
      { headerOffset: 0, offset: 512 },
      { headerOffset: 512 + padded, offset: 1024 + padded },
    ]);
    t.equal(streamSize, 1024 + padded + 512 + 1024);
  }
});

t.test("a sparse 9 GiB entry is listed right by every tar", async (t) => {
  if (!needs(t, "tar", "bsdtar", "busybox")) return;
  const dir = t.testdir();
  const file = join(dir, "big.tar");
  const items = [item("isos/nine.iso", 9 * 1024 ** 3), item(`files/${"l".repeat(180)}`, 3), item("files/last", 600)];
  const { places, streamSize } = layOut(items);
  const handle = await open(file, "w");
  await handle.truncate(streamSize);
  for (const [index, it] of items.entries()) {
    await handle.write(headerBytes(it), 0, undefined, places[index]?.headerOffset);
  }
  await handle.close();
  const lists = new Map([
    ["tar", ["-tvf", file]],
    ["bsdtar", ["-tvf", file]],
    ["busybox", ["tar", "-tvf", file]],
  ]);
  for (const [program, args] of lists) {
    const lines = execFileSync(program, args, { env: clientEnv({ TZ: "UTC" }), encoding: "utf8" })
      .trim()
      .split("\n");
    t.equal(lines.length, 3, program);
    for (const [index, it] of items.entries()) {
      t.match(lines[index], String(it.size), `${program}: size`);
      t.ok(lines[index]?.endsWith(` ${it.path}`), `${program}: ${it.path}`);
    }
    t.match(lines[0], "1980", program);
  }
});

t.test("GNU tar extracts what was laid out, without a word", async (t) => {
  if (!needs(t, "tar")) return;
  const dir = t.testdir();
  const child = spawn("tar", ["-xf", "-", "-C", dir], { env: clientEnv(), stdio: ["pipe", "ignore", "pipe"] });
  let said = "";
  child.stderr.on("data", (chunk) => {
    said += chunk;
  });
  const content = Buffer.from("content");
  const body = Buffer.concat([headerBytes(item("a/b", 7, "0755")), content, Buffer.alloc(505), Buffer.alloc(1024)]);
  child.stdin.end(body);
  const [status] = await once(child, "exit");
  t.equal(status, 0);
  t.equal(said, "");
  const made = await open(join(dir, "a/b"));
  t.equal((await made.stat()).mode & 0o777, 0o755);
  t.equal((await made.readFile()).toString(), "content");
  await made.close();
});
