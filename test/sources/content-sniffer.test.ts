import { deflateRawSync, gzipSync, zstdCompressSync } from "node:zlib";
import t from "tap";
import { type Claim, contentFindings } from "../../src/sources/content-sniffer.ts";

const LOGIN = Buffer.from("\ufeff\n<!-- portal -->\n<!DOCTYPE html><html><title>Log in</title></html>\u001b[2J");
const GONE = Buffer.from('{"message":"not found"}');

function isoWith(name: string, sector: number): Buffer {
  const bytes = Buffer.alloc(64 * 1024);
  bytes.write(name, sector * 2048 + 1, "latin1");
  return bytes;
}

function tarOf(): Buffer {
  const header = Buffer.alloc(1024);
  header.write("a", 0);
  header.write("        ", 148);
  const sum = header.subarray(0, 512).reduce((all, it) => all + it, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return header;
}

async function levelsOf(claim: Partial<Claim>, bytes: Buffer): Promise<string[]> {
  const whole: Claim = { kind: "file", path: "files/x", isLocal: false, isVouched: false, ...claim };
  const read = async (at: number, length: number) => bytes.subarray(at, at + length);
  const found = await contentFindings({ size: bytes.length, read }, whole);
  for (const { message } of found) t.notMatch(message, /[\u001b\n]/, "on one line");
  return found.map((it) => it.level);
}

t.test("what is what it claims to be is taken", async (t) => {
  const good: [Partial<Claim>, Buffer][] = [
    [{ kind: "iso", path: "isos/a.iso" }, isoWith("CD001", 16)],
    [{ kind: "iso", path: "isos/a.iso" }, isoWith("NSR03", 18)],
    [{ path: "files/a.tar.gz" }, gzipSync("x")],
    [{ path: "files/a.tgz", mode: "0755" }, gzipSync("x")],
    [{ path: "files/a.tar.zst" }, zstdCompressSync("x")],
    [{ path: "files/a.zip" }, Buffer.from("PK\u0003\u0004")],
    [{ path: "files/a.tar" }, tarOf()],
    [{ path: "files/kubeadm", mode: "0755" }, Buffer.from("\u007fELF\u0002")],
    [{ path: "files/run.sh", mode: "0755" }, Buffer.from("#!/bin/sh\n")],
    [{ path: "files/index.html" }, LOGIN],
    [{ path: "files/a.json" }, GONE],
    [{ path: "files/notes.txt" }, Buffer.from("<b>no page</b>")],
    [{ path: "files/empty" }, Buffer.alloc(0)],
    [{ path: "files/a.gz.sha256" }, Buffer.from("00")],
  ];
  for (const [claim, bytes] of good) t.strictSame(await levelsOf(claim, bytes), [], claim.path ?? "");
});

t.test("what is something else is found, and a page above all", async (t) => {
  const bad: [Partial<Claim>, Buffer, string][] = [
    [{ kind: "iso", path: "isos/a.iso" }, LOGIN, "error"],
    [{ kind: "iso", path: "isos/a.iso" }, Buffer.alloc(0), "error"],
    [{ kind: "iso", path: "isos/a.iso" }, isoWith("CD001", 15), "error"],
    [{ kind: "iso", path: "isos/a.iso" }, isoWith("CD001", 16).subarray(0, 32_000), "error"],
    [{ path: "files/a.tar.gz" }, LOGIN, "error"],
    [{ path: "files/a.tar.gz" }, tarOf(), "error"],
    [{ path: "files/a.xz" }, deflateRawSync("x"), "error"],
    [{ path: "files/A.ZIP" }, GONE, "error"],
    [{ path: "files/a.rpm" }, LOGIN, "error"],
    [{ path: "files/a.tar" }, Buffer.alloc(100), "error"],
    [{ path: "files/kubeadm", mode: "0755" }, GONE, "error"],
    [{ path: "files/kubeadm", mode: "0755" }, LOGIN, "error"],
    [{ path: "files/script", mode: "0755", isLocal: true }, Buffer.from("echo"), "warning"],
    [{ path: "files/script", mode: "0755", isLocal: true }, LOGIN, "error"],
    [{ path: "files/notes.txt" }, LOGIN, "error"],
    [{ path: "files/noname" }, LOGIN, "error"],
    [{ path: "files/a.json" }, Buffer.from("oops"), "error"],
    [{ path: "files/a.tgz", isLocal: true }, Buffer.from("echo"), "warning"],
    [{ path: "files/a.tgz", isLocal: true }, LOGIN, "error"],
    [{ path: "files/a.tar.gz", isVouched: true }, tarOf(), "warning"],
  ];
  for (const [claim, bytes, level] of bad) t.strictSame(await levelsOf(claim, bytes), [level], claim.path ?? "");
});
