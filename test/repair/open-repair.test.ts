/** What a repair works with: trusted first, and found wherever it is. */
import { copyFileSync, cpSync, mkdirSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { repair } from "../../src/repair.ts";
import { makeKey } from "../fixtures/bundle-maker.ts";
import { needs } from "../fixtures/clients.ts";
import { burst, makeStock, same } from "../fixtures/parity.ts";
import { makeParityBundle } from "../fixtures/parity-bundle.ts";
import { refusalOf } from "../fixtures/refusal.ts";

const root = t.testdir();
const { good, trust, copyOf } = await makeParityBundle(root);

t.test("a renamed volume, a single one, and recovery files of stock par2 from elsewhere", async (t) => {
  const bundle = copyOf();
  for (const name of readdirSync(bundle).filter((it) => it.endsWith(".par2"))) rmSync(join(bundle, name));
  renameSync(join(bundle, "data.tar.0000"), join(root, "renamed.bin"));
  rmSync(join(bundle, "data.tar.0001"));
  mkdirSync(join(root, "single"));
  copyFileSync(join(good, "data.tar.0001"), join(root, "single/data.tar.0001"));
  const from = [join(root, "renamed.bin"), join(root, "single")];
  t.match(await repair([bundle], { trust, from, inPlace: true }), {
    volumes: [
      { name: "data.tar.0000", state: "repaired", by: "copy" },
      { name: "data.tar.0001", state: "repaired", by: "copy" },
    ],
  });
  if (!needs(t, "par2")) return;
  const stock = join(root, "stock");
  cpSync(good, stock, { recursive: true });
  for (const name of readdirSync(stock).filter((it) => it.endsWith(".par2"))) rmSync(join(stock, name));
  makeStock(
    stock,
    "-r20",
    "-b300",
    "mine.par2",
    ...readdirSync(stock, { withFileTypes: true })
      .filter((it) => it.isFile())
      .map((it) => it.name),
  );
  for (const name of readdirSync(stock).filter((it) => !it.endsWith(".par2")))
    rmSync(join(stock, name), { recursive: true });
  burst(join(bundle, "data.tar.0001"), 10, 2000);
  t.match(await repair([bundle], { trust, from: [stock], inPlace: true }), {
    volumes: [{ state: "repaired", by: "blocks" }],
  });
  for (const name of ["data.tar.0000", "data.tar.0001"]) t.ok(same(join(bundle, name), join(good, name)), name);
});

t.test("nothing is read without a good signature, and no link is followed", async (t) => {
  const bundle = copyOf();
  writeFileSync(join(root, "other.pub"), makeKey().pem);
  t.match(await refusalOf(repair([bundle], { trust: [join(root, "other.pub")], from: [] })), {
    code: "ERR_KEY_UNTRUSTED",
  });
  rmSync(join(bundle, "data.0000.par2"));
  symlinkSync("/etc/passwd", join(bundle, "data.0000.par2"));
  t.match(await refusalOf(repair([bundle], { trust, from: [] })), { code: "ERR_PATH_UNSAFE" });
});

t.test("folders that are of no use are named", async (t) => {
  const bundle = copyOf();
  mkdirSync(join(root, "empty"));
  t.match(await refusalOf(repair([bundle], { trust, from: [join(root, "empty")] })), {
    code: "ERR_USAGE",
    message: /holds no part of this bundle/,
  });
  t.match(await refusalOf(repair([bundle], { trust, from: [join(root, "nothing")] })), { code: "ERR_IO" });
  t.match(await refusalOf(repair([bundle], { trust, from: [], out: bundle })), {
    code: "ERR_USAGE",
    message: /it is a folder of the bundle/,
  });
  t.match(await refusalOf(repair([bundle], { trust, from: [], out: root })), {
    code: "ERR_USAGE",
    message: /it holds something else/,
  });
  t.match(await refusalOf(repair([bundle], { trust, from: [], out: trust[0] ?? "" })), {
    code: "ERR_USAGE",
    message: /it is a file/,
  });
});
