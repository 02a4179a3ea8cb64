/**
 * The measured program: describes every RPM of a folder and writes repodata/. Arguments: folder, hash threads (0:
 * none).
 */
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { HashPool } from "../../src/io/hash-pool.ts";
import { eachLimited } from "../../src/io/limit.ts";
import { type LoosePackage, readLoosePackage, writeLooseRepodata } from "../../src/rpm/loose-packages.ts";

const [folder = ".", threads = "0"] = process.argv.slice(2);
const pool = Number(threads) > 0 ? new HashPool(Number(threads)) : undefined;
const packages: LoosePackage[] = [];
const names = readdirSync(folder).filter((it) => it.endsWith(".rpm"));
await eachLimited(names, 4, async (href) => {
  const file = join(folder, href);
  const hashed = pool?.hashFile(file);
  const handle = await open(file);
  try {
    const { size } = await handle.stat();
    const read = async (position: number, length: number) => {
      const { buffer, bytesRead } = await handle.read(Buffer.allocUnsafeSlow(Math.min(length, size - position)), {
        position,
      });
      return buffer.subarray(0, bytesRead);
    };
    const digest = (await hashed)?.digest;
    packages.push(await readLoosePackage({ href, bytes: { size, read }, digest }));
  } finally {
    await handle.close();
  }
});
const { files, repomd } = await writeLooseRepodata(packages, new Date(0));
mkdirSync(join(folder, "repodata"), { recursive: true });
for (const { path, bytes } of files) writeFileSync(join(folder, path), bytes);
writeFileSync(join(folder, "repodata/repomd.xml"), repomd);
await pool?.close();
