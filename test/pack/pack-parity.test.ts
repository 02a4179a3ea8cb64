/** `pack --parity` and `--parity-set`: what is written where, room for it, and reruns with other options. */
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import t from "tap";
import { parseVolumeSize } from "../../src/bundle/volume-layout.ts";
import { parityBeside } from "../../src/pack/pack-parity.ts";
import { verify } from "../../src/verify.ts";
import { needs } from "../fixtures/clients.ts";
import { noise, par2 } from "../fixtures/parity.ts";
import { scratch, start } from "../fixtures/program.ts";

t.test("volumes for a kind of medium leave room for their parity", async (t) => {
  const MIB = 1024 ** 2;
  for (const [medium, capacity] of [
    ["dvd", 4_700_372_992],
    ["dvd-dl", 8_543_666_176],
    ["bd25", 25_025_314_816],
    ["bd100", 100_103_356_416],
  ] as const) {
    for (const percent of [1, 5, 30, 100]) {
      const { volumeSize, volumesPerMedium } = parseVolumeSize(medium, (size) => parityBeside(size, percent));
      const used = (volumeSize + parityBeside(volumeSize, percent)) * volumesPerMedium;
      t.ok(used <= capacity - 320 * MIB, `${medium} with ${percent} % fits`);
      t.ok(used > capacity - 320 * MIB - 2 * MIB * volumesPerMedium, `${medium} with ${percent} % is full`);
      t.ok(volumeSize <= 4095 * MIB);
    }
  }
});

t.test("a set of media: recovery files beside their volumes, and those of all on the last", async (t) => {
  const dir = scratch(t);
  writeFileSync(join(dir, "m.yaml"), "apiVersion: airferry/v1\nstream: demo\nfiles:\n  - path: big.bin\n");
  writeFileSync(join(dir, "big.bin"), noise(2_500_000));
  await start(dir, ["keygen", "--out", "k"]).done;
  const pack = async (...more: string[]) => {
    const args = ["pack", "m.yaml", "--key", "k.key", "--volume-size", "1MiB", "--json", "-q", ...more];
    const { status, stdout, stderr } = await start(dir, args).done;
    t.equal(status, 0, stderr);
    const { bundle, packed, digest } = JSON.parse(stdout);
    return { bundle: join(dir, bundle), packed, digest };
  };
  const namesIn = (folder: string) => readdirSync(folder).filter((it) => /^data\.(?!pieces)/.test(it));
  const set = ["--per-medium", "--parity", "10%", "--parity-set", "40"];
  const { bundle, packed, digest } = await pack(...set);
  t.equal(packed, true);
  t.strictSame(
    readdirSync(bundle)
      .sort()
      .map((it) => namesIn(join(bundle, it))),
    [
      ["data.0000.par2", "data.tar.0000"],
      ["data.0001.par2", "data.tar.0001"],
      ["data.0002.par2", "data.tar.0002"],
      ["data.set.par2"],
      ["data.set.vol0122-0244.par2"],
    ],
  );
  const trust = [join(dir, "k.pub")];
  t.match(await verify([bundle], { trust }), { ok: true, parity: { total: 5, missing: [], damaged: [] } });
  t.match(await verify([join(bundle, "medium-4-of-5")], { trust, partial: true }), { ok: true });
  if (needs(t, "par2")) t.match(par2(join(bundle, "medium-2-of-5"), "v", "data.0001.par2"), { status: 0 });
  t.match(await pack(...set), { packed: false, digest }, "a rerun has nothing to do");
  rmSync(join(dir, "m.state.json"));
  t.match(await pack(...set), { packed: false, digest }, "without the state it is recognized by its recovery files");

  const flat = await pack("--parity", "20%");
  t.equal(flat.packed, true, "other parity is another bundle");
  t.strictSame(namesIn(flat.bundle), [
    "data.0000.par2",
    "data.0001.par2",
    "data.0002.par2",
    "data.tar.0000",
    "data.tar.0001",
    "data.tar.0002",
  ]);
  t.match(await verify([flat.bundle], { trust }), { ok: true });
});

t.test("what an interrupted pack left of other parity is not carried", async (t) => {
  const dir = scratch(t);
  writeFileSync(join(dir, "m.yaml"), "apiVersion: airferry/v1\nstream: demo\nfiles:\n  - path: a.bin\n");
  writeFileSync(join(dir, "a.bin"), "a");
  await start(dir, ["keygen", "--out", "k"]).done;
  const args = ["pack", "m.yaml", "--json", "-q"];
  const signer = ["--signer", "false", "--signer-key", "k.pub", "--rpm-key", "k.rpm.key"];
  const failed = await start(dir, [...args, ...signer, "--parity-set", "50%"]).done;
  t.equal(failed.status, 1, failed.stderr);
  const [work = ""] = readdirSync(join(dir, "bundles")).filter((it) => it.startsWith(".work-"));
  t.ok(existsSync(join(dir, "bundles", work, "data.set.par2")));
  const { status, stdout } = await start(dir, [...args, "--key", "k.key", "--parity", "5%"]).done;
  t.equal(status, 0);
  const bundle = join(dir, JSON.parse(stdout).bundle);
  t.equal(basename(bundle), "demo-000001");
  t.notOk(existsSync(join(bundle, "data.set.par2")));
  t.match(readFileSync(join(bundle, "SHA256SUMS"), "utf8"), / {2}data\.0000\.par2\n/);
});

t.test("shares are whole percent, from 1 to 100", async (t) => {
  for (const share of ["0", "101%", "5.5%", "-1", "five", ""]) {
    const { status, stderr } = await start(scratch(t), ["plan", "m.yaml", `--parity=${share}`]).done;
    t.equal(status, 2, `${share}: ${stderr}`);
  }
});
