/** `diff` of real bundles, their lock, and the store that took them in: exactly what changed, and nothing of a hostile name is markup. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { airferry } from "./fixtures/host.ts";
import { TestImages } from "./fixtures/images.ts";
import { scratch, writeManifest } from "./fixtures/program.ts";
import { MINIMAL, makeHeader, makeRpm, text } from "./fixtures/rpm-files.ts";

async function run(t: Test, dir: string, ...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await airferry(dir, args);
  t.equal(status, 0, stderr);
  return stdout;
}

function rpm(dir: string, name: string, version: string): void {
  const entries = [text(1000, name), text(1001, version), ...MINIMAL.slice(2)];
  writeFileSync(join(dir, `${name}-${version}-1.noarch.rpm`), makeRpm({ header: makeHeader(entries) }));
}

function image(dir: string, content: string): void {
  const images = new TestImages();
  const one = images.image("linux/amd64", [{ "etc/motd": content }]);
  images.writeLayout(dir, { "host.example/app:v1": one });
}

t.test("what changed between two releases", async (t) => {
  const dir = scratch(t);
  await run(t, dir, "keygen", "--out", "one");
  await run(t, dir, "keygen", "--out", "two");
  const release = (rpms: [string, string][], files: [string, string][]) => {
    rmSync(join(dir, "rpms"), { recursive: true, force: true });
    for (const folder of ["rpms", "files"]) mkdirSync(join(dir, folder), { recursive: true });
    for (const it of rpms) rpm(join(dir, "rpms"), ...it);
    for (const [name, content] of files) writeFileSync(join(dir, "files", name), content);
    writeManifest(dir, {
      rpms: [{ name: "site", path: "rpms", gpgcheck: false }],
      files: files.map(([name]) => ({ path: `files/${name}` })),
    });
  };
  release(
    [
      ["up", "1.9"],
      ["down", "2.0"],
      ["same", "1"],
      ["gone", "1"],
    ],
    [
      ["tool-1.2.3.tar", "x"],
      ["same.txt", "y"],
      ["edited.txt", "before"],
      ["<script>alert(1).txt", "z"],
    ],
  );
  await run(t, dir, "pack", "m.yaml", "--key", "one.key");
  release(
    [
      ["up", "1.10"],
      ["down", "1.0"],
      ["same", "1"],
      ["new", "1"],
    ],
    [
      ["tool-1.3.0.tar", "x3"],
      ["same.txt", "y"],
      ["edited.txt", "after, and longer"],
    ],
  );
  await run(t, dir, "lock", "m.yaml", "--update");
  await run(t, dir, "pack", "m.yaml", "--key", "two.key");

  const first = "bundles/test-000001";
  const second = "bundles/test-000002";
  const report = JSON.parse(await run(t, dir, "diff", first, second, "--json"));
  const pairs = (list: { before: { version: string }; after: { version: string } }[]) =>
    list.map((it) => [it.before.version, it.after.version]);
  t.notOk(report.same);
  t.strictSame(pairs(report.packages.upgraded), [["1.9-1", "1.10-1"]]);
  t.strictSame(pairs(report.packages.downgraded), [["2.0-1", "1.0-1"]]);
  t.strictSame(
    report.packages.added.map((it: { name: string }) => it.name),
    ["new.noarch"],
  );
  t.strictSame(
    report.packages.removed.map((it: { name: string }) => it.name),
    ["gone.noarch"],
  );
  t.equal(report.packages.unchanged, 1);
  t.strictSame(pairs(report.files.upgraded), [["files/tool-1.2.3.tar", "files/tool-1.3.0.tar"]]);
  t.strictSame(pairs(report.files.changed), [["files/edited.txt", "files/edited.txt"]]);
  t.equal(report.files.unchanged, 1);
  t.equal(report.signers.added.length, 1);
  t.equal(report.signers.removed.length, 1);
  t.match(report.before, { kind: "bundle", name: first, verified: false, stream: "test", serial: 1 });

  const shown = await run(t, dir, "diff", first, second, "--html", "changes.html");
  t.match(shown, /^before {4}test 1: packed \S+, signed by [0-9a-f]{16} \(not checked\)$/m);
  t.match(shown, /^packages {2}1 up, 1 down, 1 added, 1 removed, 1 unchanged$/m);
  t.match(shown, /^up +site: up\.noarch +1\.9-1 +1\.10-1 /m);
  t.match(shown, /^changed +files\/edited\.txt +edited\.txt \(sha256:\S{12}…\) /m);
  const page = readFileSync(join(dir, "changes.html"), "utf8");
  t.match(page, /<td>site: up\.noarch<\/td>/);
  t.match(page, /&lt;script&gt;alert/);
  t.notMatch(page, /<script|src=|href="http/, "nothing runs, nothing is loaded");

  t.ok(JSON.parse(await run(t, dir, "diff", first, first, "--json")).same);
  const withLock = JSON.parse(await run(t, dir, "diff", second, "m.lock.json", "--json"));
  t.ok(withLock.same, "a bundle is what its lock says");
  t.match(JSON.parse(await run(t, dir, "diff", first, "m.lock.json", "--json")).packages.upgraded, [{}]);

  for (const [bundle, key] of [
    [first, "one.pub"],
    [second, "two.pub"],
  ] as const) {
    await run(t, dir, "unpack", bundle, "--trust", key, "--store", "store");
  }
  const inside = JSON.parse(await run(t, dir, "diff", "test-000001", "test", "--store", "store", "--json"));
  for (const part of ["packages", "files", "images", "isos"]) t.strictSame(inside[part], report[part], part);
  t.match(inside.after, { kind: "release", verified: true, serial: 2 });
});

t.test("an image under the same tag, in other bytes", async (t) => {
  const dir = scratch(t);
  for (const content of ["before", "after"]) {
    image(join(dir, "layout"), content);
    writeManifest(dir, { images: [{ archive: "layout" }] });
    await run(t, dir, "lock", "m.yaml", "--update");
    await run(t, dir, "pack", "m.yaml", "--unsigned", "--out", content);
  }
  const { images } = JSON.parse(await run(t, dir, "diff", "before/test-000001", "after/test-000002", "--json"));
  t.equal(images.changed.length, 1);
  t.match(
    await run(t, dir, "diff", "before/test-000001", "after/test-000002"),
    /^changed +host\.example\/app +v1 \(sha256:/m,
  );
});

t.test("what cannot be compared", async (t) => {
  const dir = scratch(t);
  mkdirSync(join(dir, "empty"));
  writeManifest(dir, {});
  writeFileSync(join(dir, "no.json"), "{}");
  for (const [args, status, said] of [
    [["empty", "empty"], 3, /SHA256SUMS/],
    [["none", "none"], 1, /cannot compare "none": expected a bundle's folder or a lock: no such file/],
    [
      ["m.yaml", "m.yaml"],
      2,
      /a manifest pins nothing, its lock does[\s\S]*m\.lock\.json, which airferry lock m\.yaml writes/,
    ],
    [["no.json", "no.json"], 2, /lock "no\.json"/],
    [["a", "b", "--store", "empty"], 1, /store/],
  ] as const) {
    const ran = await airferry(dir, ["diff", ...args]);
    t.equal(ran.status, status, `${args}: ${ran.stderr}`);
    t.match(ran.stderr, said);
  }
});
