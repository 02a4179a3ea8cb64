/** Digests that a manifest gives: held against local files, whole, and what the lock then says of them. */
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { airferry } from "../fixtures/host.ts";
import { scratch, writeManifest } from "../fixtures/program.ts";

const digest = (algorithm: string, text: string, form: "base64" | "hex" = "base64") =>
  createHash(algorithm).update(text).digest(form);

t.test("lock holds a local file against every digest that the manifest gives", async (t) => {
  const dir = scratch(t);
  writeFileSync(join(dir, "a.txt"), "a");
  const right = `sha512-${digest("sha512", "a")}`;
  const own = `sha256-${digest("sha256", "a")}`;
  const good = new Map<object, string>([
    [{ sha256: digest("sha256", "a", "hex").toUpperCase() }, own],
    [{ integrity: own }, own],
    [{ integrity: right }, `${right} ${own}`],
    [{ integrity: `${right}\n  ${own}` }, `${right} ${own}`],
    [{ integrity: `sha384-${digest("sha384", "a")} ${right}` }, `sha384-${digest("sha384", "a")} ${right} ${own}`],
    [{}, own],
  ]);
  for (const [proof, written] of good) {
    const file = writeManifest(dir, { files: [{ path: "a.txt", ...proof }] });
    t.equal((await airferry(dir, ["lock", file])).status, 0, JSON.stringify(proof));
    const lock = JSON.parse(readFileSync(join(dir, "m.lock.json"), "utf8"));
    t.equal(lock.entries[0].artifacts[0].integrity, written);
  }
  const other = digest("sha256", "b", "hex");
  for (const proof of [{ sha256: other }, { integrity: `${right} sha256-${digest("sha256", "b")}` }]) {
    const file = writeManifest(dir, { files: [{ path: "a.txt", ...proof }] });
    const { status, stderr } = await airferry(dir, ["lock", file]);
    t.equal(status, 4, JSON.stringify(proof));
    t.match(stderr, `digest mismatch of "a.txt": expected sha256:${other}, got sha256:${digest("sha256", "a", "hex")}`);
  }
});
