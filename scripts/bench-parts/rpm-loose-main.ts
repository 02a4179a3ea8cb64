/**
 * The measured program: describes every RPM of a folder as `lock` does and writes repodata/. Arguments: folder, hash
 * threads (0: the main thread hashes).
 */
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { HashPool } from "../../src/io/hash-pool.ts";
import { mapLimited } from "../../src/io/limit.ts";
import { withHead } from "../../src/io/open-bytes.ts";
import { FIRST_READ_BYTES } from "../../src/rpm/header.ts";
import { readLoosePackage, writeLooseRepodata } from "../../src/rpm/loose-packages.ts";

const [folder = ".", threads = "0"] = process.argv.slice(2);
const pool = new HashPool(Number(threads));
const names = readdirSync(folder).filter((it) => it.endsWith(".rpm"));
const packages = await mapLimited(names, 4, async (href) => {
  const file = join(folder, href);
  const { size } = await stat(file);
  const { digest, head } = await pool.hashWithHead(file, size, FIRST_READ_BYTES);
  return readLoosePackage({ href, bytes: withHead(head, size, file), digest });
});
const { files, repomd } = await writeLooseRepodata(packages, new Date(0));
mkdirSync(join(folder, "repodata"), { recursive: true });
for (const { path, bytes } of files) writeFileSync(join(folder, path), bytes);
writeFileSync(join(folder, "repodata/repomd.xml"), repomd);
await pool.close();
