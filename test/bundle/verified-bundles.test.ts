/** Bundles that are verified and held: what several copies of a set may hide from each other. */
import { cpSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { verifyAndHold } from "../../src/bundle/verified-bundles.ts";
import { HeldFiles } from "../../src/io/held-files.ts";
import { makeBundle, makeKey, noise } from "../fixtures/bundle-maker.ts";

const dir = t.testdir();
const key = makeKey();
const trust = [join(dir, "k.pub")];
writeFileSync(join(dir, "k.pub"), key.pem);
const files = { "files/a": noise(3000, 1), "files/b": noise(3000, 2), "files/c": noise(3000, 3) };

/** Two copies of a bundle, the first volume of one of them damaged. */
function twice(name: string, spoilStream: (bytes: Buffer) => unknown): [string, string] {
  const [one, two] = [join(dir, `${name}-1`), join(dir, `${name}-2`)] as const;
  makeBundle(one, { files, keys: [key], volumeSize: 4096, spoilStream });
  cpSync(one, two, { recursive: true });
  const volume = join(one, "data.tar.0000");
  const bytes = readFileSync(volume);
  bytes[1000]! ^= 1;
  writeFileSync(volume, bytes);
  return [one, two];
}

async function hold(folders: readonly string[]) {
  const held = new HeldFiles();
  try {
    return (await verifyAndHold(folders, held, { action: "serve", trust })).length;
  } finally {
    await held.close();
  }
}

t.test("verifyAndHold() reads a damaged volume from another copy", async (t) => {
  t.equal(await hold(twice("good", () => {})), 1);
});

t.test("verifyAndHold() sees content that the inventory does not say, beside a damaged copy too", async (t) => {
  const wrong = twice("wrong", (bytes) => {
    bytes[8192 + 200]! ^= 1;
  });
  await t.rejects(hold(wrong), { code: "ERR_BUNDLE_INVALID", message: /does not match the inventory/ });
});

t.test("verifyAndHold() leaves no file open when one cannot be opened", async (t) => {
  const folders = twice("closed", () => {});
  const before = readdirSync("/proc/self/fd").length;
  await t.rejects(hold([folders[0], join(dir, "none")]));
  t.equal(readdirSync("/proc/self/fd").length, before);
});
