/** pack writes data.pieces of what it carries, whether bytes stream, are resumed, or come from an earlier bundle. */
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { HashPool } from "../../src/io/hash-pool.ts";
import { openWorkspace } from "../../src/pack/workspace.ts";
import { pack } from "../../src/pack.ts";
import { piecesFile } from "../fixtures/bundle-maker.ts";
import { MIB, packSample } from "../fixtures/pack-sample.ts";

t.test("data.pieces is right, on every medium, and is not computed again from an earlier bundle", async (t) => {
  const { upstream, dir, file, iso } = await packSample(t, 5 * MIB + 3);
  let hashers = 0;
  const { open } = HashPool.prototype;
  t.teardown(() => {
    HashPool.prototype.open = open;
  });
  HashPool.prototype.open = function (others, bytes, pieces) {
    if (pieces === true) hashers++;
    return open.call(this, others, bytes, pieces);
  };
  const packed = async (serial: number, more: { volumesPerMedium?: number } = {}) => {
    await using workspace = await openWorkspace(file, { cacheDir: join(dir, ".cache"), concurrency: 2 });
    const common = { signers: [], programs: [], frozen: false, concurrency: 2, volumeSize: 2 * MIB };
    await pack(workspace, { out: join(dir, "out"), serial, ...common, ...more });
    return join(dir, "out", `test-${String(serial).padStart(6, "0")}`);
  };
  const expected = piecesFile([iso]) as Buffer;
  const first = await packed(1);
  t.same(readFileSync(join(first, "data.pieces")), expected);
  t.match(readFileSync(join(first, "SHA256SUMS"), "utf8"), /^[0-9a-f]{64} {2}data\.pieces$/m);
  t.equal(hashers, 1, "one entry is above 1 MiB");
  const before = upstream.bytesOf("/x.iso");
  const second = await packed(2, { volumesPerMedium: 1 });
  t.same(readFileSync(join(second, "medium-1-of-3", "data.pieces")), expected);
  t.same(readFileSync(join(second, "medium-3-of-3", "data.pieces")), expected);
  t.equal(hashers, 1, "taken over");
  t.equal(upstream.bytesOf("/x.iso"), before);
  rmSync(join(first, "data.pieces"));
  rmSync(second, { recursive: true });
  t.same(readFileSync(join(await packed(3), "data.pieces")), expected);
  t.equal(hashers, 2, "computed, since nobody had them");
});
