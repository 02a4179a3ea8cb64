/** Stock tools check and unpack a bundle of ours, as docs/format.md says under "Checking with stock tools". */
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { makeBundle, makeKey, sampleFiles } from "../fixtures/bundle-maker.ts";
import { flip } from "../fixtures/bundle-tamper.ts";
import { clientEnv, cosignPaths, needs } from "../fixtures/clients.ts";

const root = t.testdir();
const key = makeKey();
const bundle = join(root, "bundle");
const files = sampleFiles();
makeBundle(bundle, { files, keys: [key], volumeSize: 1_000_000 });
writeFileSync(join(root, "key.pub"), key.pem);
const id = `signatures/${key.keyid.slice(0, 16)}`;
const run = (program: string, ...args: string[]) =>
  execFileSync(program, args, {
    cwd: bundle,
    env: clientEnv({ LC_ALL: "C.UTF-8" }),
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
  });

t.test("sha256sum, of coreutils and of busybox", async (t) => {
  if (needs(t, "sha256sum")) t.match(run("sha256sum", "-c", "--strict", "SHA256SUMS"), /data\.tar\.0003: OK/);
  if (needs(t, "busybox")) t.match(run("busybox", "sha256sum", "-c", "SHA256SUMS"), /data\.tar\.0003: OK/);
});

t.test("openssl checks the raw signature, and refuses it over other bytes", async (t) => {
  if (!needs(t, "openssl")) return;
  const check = () =>
    run("openssl", "dgst", "-sha256", "-verify", "../key.pub", "-signature", `${id}.sig`, "SHA256SUMS");
  t.match(check(), /Verified OK/);
  flip(join(bundle, "SHA256SUMS"), 3);
  t.throws(check);
  flip(join(bundle, "SHA256SUMS"), 3);
});

t.test("cosign checks the Sigstore bundle", async (t) => {
  const programs = cosignPaths();
  if (programs.length === 0 && !needs(t, "cosign")) return;
  for (const program of programs) {
    const args = [
      "--bundle",
      `${id}.sigstore.json`,
      "--trusted-root",
      "trusted_root.json",
      "--insecure-ignore-tlog=true",
    ];
    t.doesNotThrow(() => run(program, "verify-blob", "--key", "../key.pub", ...args, "SHA256SUMS"), program);
  }
});

for (const [program, ...args] of [["tar"], ["bsdtar"], ["busybox", "tar"]] as const) {
  t.test(`${program} unpacks the volumes`, async (t) => {
    if (!needs(t, program, "sh")) return;
    const dir = join(root, `by-${program}`);
    const command = `mkdir ${dir} && cat data.tar.* | ${[program, ...args].join(" ")} -xf - -C ${dir} 2>&1`;
    t.equal(run("sh", "-c", command), "", "without a word");
    for (const [path, content] of Object.entries(files)) {
      if (!readFileSync(join(dir, path)).equals(content)) t.fail(path);
    }
    t.pass(`${Object.keys(files).length} files`);
  });
}
