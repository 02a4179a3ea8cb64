/**
 * Compiles every chunk in a folder and writes the compiled code beside it. Run by main.ts as a program of its own with
 * a fixed `--random-seed`: V8 seeds the hashes of names with it, which otherwise make the bytes differ in every run. (A
 * fixed `--hash-seed` would do as well, but V8 then refuses the code in a program without that flag.)
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Script } from "node:vm";
import { CACHE_SUFFIX, wrapped } from "./wrapper.ts";

const [folder = ""] = process.argv.slice(2);
for (const name of readdirSync(folder).sort()) {
  if (!name.endsWith(".js")) continue;
  const script = new Script(wrapped(readFileSync(join(folder, name), "latin1")), { filename: name });
  writeFileSync(join(folder, `${name}${CACHE_SUFFIX}`), script.createCachedData());
}
