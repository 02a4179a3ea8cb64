/** bundles/vectors, judged by a reader that was written from docs/format.md alone (test/fixtures/reader.py). */
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { clientPath, needs } from "../fixtures/clients.ts";
import type { TrustVector, Vector } from "../fixtures/vectors/make.ts";

const root = join(import.meta.dirname, "../../bundles/vectors");
const vectors = JSON.parse(readFileSync(join(root, "index.json"), "utf8")) as Vector[];

t.test("a reader that shares no code with src/ judges them in the same way", async (t) => {
  if (!needs(t, "python3", "openssl")) return;
  const reader = join(import.meta.dirname, "../fixtures/reader.py");
  // OpenSSL knows ML-DSA from 3.5 on.
  const newer = clientPath("newer-openssl");
  const openssl = newer ?? (clientPath("openssl") as string);
  const printed = execFileSync("python3", [reader, "vectors", root, openssl], { encoding: "utf8" });
  const codes = new Map(printed.split("\n").map((line) => line.split(" ") as [string, string]));
  for (const { id, code, trust } of vectors) {
    if (newer === undefined && (trust.some((it) => it.startsWith("mldsa")) || id.endsWith("root-kinds"))) continue;
    if (codes.get(id) !== (code ?? "-")) t.fail(`${id}: expected ${code}, got ${codes.get(id)}`);
  }
  t.equal(codes.size - 1, vectors.length);
  const roots = JSON.parse(readFileSync(join(root, "trust.json"), "utf8")) as TrustVector[];
  const lines = execFileSync("python3", [reader, "trust", root, openssl], { encoding: "utf8" });
  t.same(
    lines.trim().split("\n"),
    roots.map(({ id, code, version }) => `${id} ${code ?? "-"} ${version ?? "-"}`),
  );
  const golden = join(root, "../golden/v1");
  const arguments_ = [reader, "verify", join(golden, "golden-000001"), "--trust", join(golden, "golden.pub")];
  const ran = spawnSync("python3", arguments_, { encoding: "utf8" });
  t.match(ran.stdout, /^good: golden, epoch 1, serial 1, 11 files$/m, ran.stderr);
  if (newer === undefined) return;
  const fingerprint = createHash("sha256")
    .update(readFileSync(join(golden, "golden-000002/trust.1.json")))
    .digest("hex");
  const delta = [reader, "verify", join(golden, "golden-000002"), "--trust", `sha256:${fingerprint}`];
  const second = spawnSync("python3", delta, { encoding: "utf8", env: { ...process.env, OPENSSL: openssl } });
  t.match(second.stdout, /^good: golden, epoch 1, serial 2, 5 files$/m, second.stderr);
});
