/** pack as a user runs it: one GET per artifact, continues after a kill, same lock same volumes, clear refusals. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import t from "tap";
import { airferry } from "./fixtures/host.ts";
import { MIB, packSample, sha256, volumesOf } from "./fixtures/pack-sample.ts";
import { scratch, seededBytes, writeManifest } from "./fixtures/program.ts";
import { document, makeSigner, signedTrust, writeTrust } from "./fixtures/trust-maker.ts";
import { startUpstream } from "./fixtures/upstream.ts";

t.test("packs with one GET per artifact, and a rerun fetches nothing", async (t) => {
  const { upstream, dir, file, iso } = await packSample(t);
  const ran = await airferry(dir, ["pack", file, "--unsigned", "--out", "out"]);
  t.equal(ran.status, 0, ran.stderr);
  t.equal(ran.stdout, "out/test-000001\n", "stdout is the bundle's path, alone");
  for (const path of ["/x.iso", "/tool.tar.gz", "/plain.bin", "/empty"]) {
    t.equal(upstream.of(path, "GET").length, 1, `one GET of ${path}`);
  }
  const bundle = join(dir, "out", "test-000001");
  const tree = join(dir, "tree");
  mkdirSync(tree);
  execFileSync("sh", ["-c", `cat data.tar.* | tar -xf - -C ${tree}`], { cwd: bundle });
  t.ok(readFileSync(join(tree, "isos/x.iso")).equals(iso), "stock tar gives the ISO back");
  t.equal(readFileSync(join(tree, "isos/x.iso.sha256"), "utf8"), `${sha256(iso)}\n`);
  t.equal(readFileSync(join(tree, "files/tool.tar.gz.sha256sum"), "utf8").slice(64), "  tool.tar.gz\n");
  t.equal(execFileSync("stat", ["-c", "%a", join(tree, "files/pre/local.sh")], { encoding: "utf8" }), "755\n");
  execFileSync("sha256sum", ["-c", "--quiet", "SHA256SUMS"], { cwd: bundle });

  const before = upstream.requests.length;
  const again = await airferry(dir, ["pack", file, "--unsigned", "--out", "out"]);
  t.equal(again.status, 0, again.stderr);
  t.equal(again.stdout, "out/test-000001\n");
  t.equal(upstream.requests.length, before, "nothing was asked of upstream");

  writeFileSync(join(bundle, "data.tar.0000"), "changed");
  const damaged = await airferry(dir, ["pack", file, "--unsigned", "--out", "out"]);
  t.equal(damaged.status, 3, "a finished bundle that was changed is refused");
  t.match(damaged.stderr, /data\.tar\.0000/);
});

t.test("the same lock gives the same volumes, bit for bit", async (t) => {
  const { dir, file } = await packSample(t);
  for (const out of ["a", "b"]) {
    const ran = await airferry(dir, [
      "pack",
      file,
      "--unsigned",
      "--out",
      out,
      "--volume-size",
      "1MiB",
      "--serial",
      "7",
    ]);
    t.equal(ran.status, 0, ran.stderr);
  }
  const [a, b] = ["a", "b"].map((out) => volumesOf(join(dir, out, "test-000007")));
  t.equal(a?.size, 5, "cut into four volumes, with data.pieces");
  t.same(a, b);
  for (const name of ["BOM.html", "BOM.cdx.json"]) {
    const [one, other] = ["a", "b"].map((out) => readFileSync(join(dir, out, "test-000007", name), "utf8"));
    t.equal(one, other, name);
  }
});

t.test(
  "a bundle has a bill of materials on every medium; inspect prints it, and makes it where there is none",
  async (t) => {
    const { dir, file, iso } = await packSample(t);
    const media = ["--volume-size", "1MiB", "--per-medium", "--unsigned", "--serial", "3"];
    const ran = await airferry(dir, ["pack", file, "--out", "set", ...media]);
    t.equal(ran.status, 0, ran.stderr);
    const bundle = join(dir, "set", "test-000003");
    const folders = readdirSync(bundle);
    t.ok(folders.length > 1 && folders.every((it) => /^medium-\d-of-\d$/.test(it)), folders.join(" "));
    for (const folder of folders) {
      execFileSync("sha256sum", ["-c", "--quiet", "--ignore-missing", "SHA256SUMS"], { cwd: join(bundle, folder) });
      t.match(readFileSync(join(bundle, folder, "SHA256SUMS"), "utf8"), / {2}BOM\.cdx\.json\n.* {2}BOM\.html\n/);
    }
    const [first = ""] = folders;
    const page = readFileSync(join(bundle, first, "BOM.html"), "utf8");
    t.ok(page.includes(sha256(iso)));
    const medium = join("set", "test-000003", first);
    const shown = await airferry(dir, ["inspect", medium, "--bom", "html"]);
    t.equal(shown.stdout, page, "that of the bundle, with one medium of the set");
    const written = await airferry(dir, ["inspect", medium, "--bom", "cyclonedx", "--out", "bom.json", "--json"]);
    t.match(JSON.parse(written.stdout), { file: "bom.json", format: "cyclonedx", gaps: [] });
    t.ok(readFileSync(join(dir, "bom.json")).equals(readFileSync(join(bundle, first, "BOM.cdx.json"))));
    const refused = await airferry(dir, ["inspect", medium, "--bom", "spdx", "--out", "bom.json"]);
    t.equal(refused.status, 2, "an existing file is not replaced");
    const spdx = await airferry(dir, ["inspect", medium, "--bom", "spdx"]);
    t.match(JSON.parse(spdx.stdout), { spdxVersion: "SPDX-2.3", name: "test-3" });
    for (const usage of [
      ["--out", "x"],
      ["--bom", "pdf"],
      ["--bom", "html", "--json"],
    ]) {
      t.equal((await airferry(dir, ["inspect", medium, ...usage])).status, 2, usage.join(" "));
    }

    const cdx = JSON.parse(readFileSync(join(dir, "bom.json"), "utf8"));
    for (const folder of folders) {
      for (const name of ["BOM.html", "BOM.cdx.json"]) {
        rmSync(join(bundle, folder, name));
        const sums = join(bundle, folder, "SHA256SUMS");
        writeFileSync(sums, readFileSync(sums, "utf8").replace(new RegExp(`.*  ${name}\\n`), ""));
      }
    }
    const made = JSON.parse(
      (await airferry(dir, ["inspect", join("set", "test-000003"), "--bom", "cyclonedx"])).stdout,
    );
    t.same(made.components, cdx.components);
    t.equal(made.serialNumber, cdx.serialNumber);

    const flat = await airferry(dir, ["pack", file, "--out", "flat", "--unsigned", "--serial", "4"]);
    t.equal(flat.status, 0, flat.stderr);
    writeFileSync(join(dir, "flat/test-000004/BOM.html"), page);
    const other = await airferry(dir, ["inspect", "flat/test-000004", "--bom", "html"]);
    t.equal(other.status, 3, "one with another digest is not shown");
    t.match([other.stdout, other.stderr], ["", /BOM\.html": expected sha256:/]);
  },
);

t.test("bytes of an earlier bundle are copied, not fetched", async (t) => {
  const { upstream, dir, file, iso } = await packSample(t);
  t.equal((await airferry(dir, ["pack", file, "--unsigned", "--out", "out"])).status, 0);
  const manifest = JSON.parse(readFileSync(file, "utf8"));
  manifest.files.push({ path: "local.sh", as: "more.sh" });
  manifest.audience = ["site-b", "site-a"];
  manifest.isos.push({ name: "twin", url: `${upstream.url}/x.iso`, sha256: sha256(iso) });
  writeFileSync(file, JSON.stringify(manifest));
  const ran = await airferry(dir, ["pack", file, "--unsigned", "--out", "out", "--json"]);
  t.equal(ran.status, 0, ran.stderr);
  const result = JSON.parse(ran.stdout);
  t.equal(result.serial, 2);
  t.equal(result.fetchedBytes, 0);
  t.equal(upstream.of("/x.iso", "GET").length, 1, "still the one GET of the first pack");
  const inventory = JSON.parse(readFileSync(join(dir, "out/test-000002/airferry.json"), "utf8"));
  t.same(inventory.previous.serial, 1);
  t.same(inventory.audience, ["site-a", "site-b"]);
  const isos = inventory.entries.filter((it: { sha256: string }) => it.sha256 === sha256(iso));
  t.same(
    isos.map((it: { from?: string; path: string }) => [it.path, it.from]),
    [
      ["isos/twin.iso", "bundle"],
      ["isos/x.iso", undefined],
    ],
    "carried once",
  );
  t.equal(
    readFileSync(join(dir, "out/test-000002/COPIES.txt"), "utf8"),
    "0644\tisos/x.iso\tisos/twin.iso\n",
    "which stock tools have to copy",
  );
  const again = await airferry(dir, ["pack", file, "--unsigned", "--out", "out", "--json"]);
  t.equal(JSON.parse(again.stdout).serial, 2, "nothing to pack");
  const [ann, bob] = [makeSigner("ann"), makeSigner("bob")];
  const root = signedTrust(document([ann, bob]), [...ann.keys, ...bob.keys]);
  writeTrust(join(dir, "root"), [root]);
  const bring = () => airferry(dir, ["pack", file, "--unsigned", "--out", "out", "--json", "--trust-root", "root"]);
  t.match(JSON.parse((await bring()).stdout), { serial: 3, packed: true, fetchedBytes: 0 }, "with a trust root");
  t.same(readFileSync(join(dir, "out/test-000003/trust.1.json")), root.bytes);
  const sums = readFileSync(join(dir, "out/test-000003/SHA256SUMS"), "utf8");
  t.equal(sums.match(/^[0-9a-f]{64} {2}trust\.1\..*$/gm)?.length, 3, "the file and two signatures");
  t.match(JSON.parse((await bring()).stdout), { serial: 3, packed: false });
  writeTrust(join(dir, "root"), [signedTrust(document([ann, bob], { version: 2 }), [...ann.keys])]);
  t.match(await bring(), { status: 3, stderr: /too few signatures of the root role of version 1/ });
  writeTrust(join(dir, "root"), [signedTrust(document([ann, bob], { version: 2 }), [...ann.keys, ...bob.keys])]);
  t.match(JSON.parse((await bring()).stdout), { serial: 4, packed: true }, "a new version is a new bundle");
});

t.test("hostile upstreams are refused, or got the better of", async (t) => {
  const { upstream, dir, file, iso } = await packSample(t);
  const attempt = async (out: string) => airferry(dir, ["pack", file, "--unsigned", "--out", out, "--serial", "1"]);
  upstream.behaviour["/x.iso"] = { cutEvery: 700_000 };
  let ran = await attempt("cuts");
  t.equal(ran.status, 0, `cut connections: ${ran.stderr}`);
  rmSync(join(dir, "m.state.json"));

  upstream.behaviour = Object.assign(upstream.behaviour, { "/x.iso": {} });
  const flipped = Buffer.from(iso);
  flipped[1000] = (flipped[1000] as number) ^ 1;
  upstream.files.set("/x.iso", flipped);
  ran = await attempt("wrong");
  t.equal(ran.status, 4, "a wrong digest is upstream's fault");
  for (const part of ["isos/x.iso", `${upstream.url}/x.iso`, sha256(iso), sha256(flipped), String(iso.length)]) {
    t.ok(ran.stderr.includes(part), `the message names ${part}: ${ran.stderr}`);
  }
  t.notOk(existsSync(join(dir, "wrong", "test-000001")), "nothing under the final name");

  upstream.files.set("/x.iso", iso.subarray(0, iso.length - 5));
  ran = await attempt("short");
  t.equal(ran.status, 4, "a wrong length");
  upstream.files.set("/x.iso", iso);
  ran = await attempt("short");
  t.equal(ran.status, 0, `and a rerun, once upstream is well again: ${ran.stderr}`);
});

t.test("a mirror with other bytes is passed over for one with the right ones", async (t) => {
  const iso = seededBytes(5, 2 * MIB);
  const bad = Buffer.from(iso);
  bad[5] = (bad[5] as number) ^ 1;
  const upstream = await startUpstream({
    files: new Map([
      ["/bad", bad],
      ["/good", iso],
    ]),
  });
  t.teardown(() => upstream.close());
  const dir = scratch(t);
  const file = writeManifest(dir, {
    isos: [{ name: "x", urls: [`${upstream.url}/bad`, `${upstream.url}/good`], sha256: sha256(iso) }],
  });
  const ran = await airferry(dir, ["pack", file, "--unsigned", "--out", "out"]);
  t.equal(ran.status, 0, ran.stderr);
  t.equal(upstream.of("/good", "GET").length, 1);
});

t.test(
  "mirrors that are stale, damaged or gone are passed over, for files and ISOs, whatever their order",
  async (t) => {
    const iso = seededBytes(5, 2 * MIB);
    const bad = Buffer.from(iso);
    bad[5] = (bad[5] as number) ^ 1;
    const upstream = await startUpstream({
      files: new Map<string, Uint8Array>([
        ["/bad/x", bad],
        ["/old/x", iso.subarray(1000)],
        ["/good/x", iso],
      ]),
    });
    t.teardown(() => upstream.close());
    const orders = ["bad gone good", "old bad good", "gone old good", "bad old gone good"];
    for (const [i, order] of orders.entries()) {
      const dir = scratch(t);
      const urls = order.split(" ").map((it) => `${upstream.url}/${it}/x`);
      const file = writeManifest(dir, {
        ...(i % 2 === 0
          ? { isos: [{ name: "x", urls, sha256: sha256(iso) }] }
          : { files: [{ urls, sha256: sha256(iso) }] }),
      });
      const ran = await airferry(dir, ["pack", file, "--unsigned", "--out", "out"]);
      t.equal(ran.status, 0, `${order}: ${ran.stderr}`);
    }
  },
);

t.test("one pack of a manifest at a time, wherever it writes: serials are given once", async (t) => {
  const files = new Map([["/a", seededBytes(1, 30_000)]]);
  const refused = Promise.withResolvers<void>();
  const slow = await startUpstream({ files, behaviour: { "*": { until: refused.promise } } });
  t.teardown(() => slow.close());
  const dir = scratch(t);
  const file = writeManifest(dir, { files: [{ url: `${slow.url}/a` }] });
  const packTo = (out: string) => airferry(dir, ["pack", file, "--unsigned", "--out", out]);
  const first = packTo("o1");
  while (slow.requests.length === 0) await sleep(20);
  const busy = await packTo("o2");
  refused.resolve();
  t.equal(busy.status, 1);
  t.match(busy.stderr, /is working on it\n.*wait until it has finished/);
  t.equal((await first).status, 0);
  t.equal((await packTo("o3")).stdout, "o3/test-000002\n");
  t.notOk(
    readdirSync(dir).some((it) => it.endsWith(".lock")),
    "no lock is left",
  );
});

t.test("frozen refuses what the lock does not have; drift is told", async (t) => {
  const { upstream, dir, file } = await packSample(t);
  const none = await airferry(dir, ["pack", file, "--unsigned", "--out", "out", "--frozen"]);
  t.equal(none.status, 2);
  t.match(none.stderr, /--frozen/);
  t.equal((await airferry(dir, ["lock", file])).status, 0);
  upstream.files.set("/plain.bin", "other bytes");
  const drifted = await airferry(dir, ["lock", file, "--update", "plain.bin", "--json"]);
  t.equal(drifted.status, 0, drifted.stderr);
  const changes = JSON.parse(drifted.stdout).changes;
  t.equal(changes.length, 1);
  t.equal(changes[0].path, "files/plain.bin");
  t.not(changes[0].before, changes[0].after);
  const unknown = await airferry(dir, ["lock", file, "--update", "nothing"]);
  t.equal(unknown.status, 2);
});

t.test("a manifest with mistakes gets all of them, with their lines", async (t) => {
  const dir = scratch(t);
  writeFileSync(
    join(dir, "bad.yaml"),
    "apiVersion: airferry/v1\nstream: bad stream\nisos:\n  - name: a.iso\n    url: ftp://x/y\n  - name: b\nfiles:\n  - url: https://x.example/a\n  - url: https://y.example/a\n  - path: z\n    colour: red\n",
  );
  const ran = await airferry(dir, ["plan", "bad.yaml"]);
  t.equal(ran.status, 2);
  for (const part of [
    "bad.yaml:2 stream",
    "bad.yaml:4 isos[0].name",
    "bad.yaml:5 isos[0].url",
    "bad.yaml:6 isos[1]",
    "bad.yaml:9 files[1]",
    "bad.yaml:11 files[2].colour",
  ]) {
    t.ok(ran.stderr.includes(part), `${part} in: ${ran.stderr}`);
  }
});

t.test(
  "a full disk says how much is missing, and a rerun continues",
  { skip: process.getuid?.() !== 0 && "needs root to mount" },
  async (t) => {
    const { upstream, dir, file } = await packSample(t, 6 * MIB);
    const small = join(dir, "small");
    mkdirSync(small);
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=24m", "tmpfs", small]);
    t.teardown(() => execFileSync("umount", [small]));
    writeFileSync(join(small, "ballast"), Buffer.alloc(20 * MIB));
    const full = await airferry(dir, ["pack", file, "--unsigned", "--out", "small"]);
    t.equal(full.status, 1);
    t.match(full.stderr, /[\d.]+ [KMG]iB missing: [\d.]+ [KMG]iB needed, .* free/);
    rmSync(join(small, "ballast"));
    const ran = await airferry(dir, ["pack", file, "--unsigned", "--out", "small"]);
    t.equal(ran.status, 0, ran.stderr);
    t.equal(upstream.of("/x.iso", "GET").length, 1);
  },
);
