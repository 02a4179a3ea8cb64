/**
 * Bundles src/bin.ts with esbuild into one CommonJS file and puts it into a copy of this Node as a single executable
 * application (nodejs.org/api/single-executable-applications.html).
 */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";
import { inject } from "postject";
import { thirdParty } from "./notices.ts";

const root = join(import.meta.dirname, "..", "..");
const dist = join(root, "dist");
mkdirSync(dist, { recursive: true });
// All of it is made beside the result and takes its name at the end: a build never disturbs a program that runs, or another build.
const work = mkdtempSync(join(dist, ".build-"));
const file = (name: string) => join(work, name);
process.on("exit", () => rmSync(work, { recursive: true, force: true }));

const bundled = {
  bundle: true,
  // Less to read and to keep in memory. Names stay: some appear in messages.
  minifyWhitespace: true,
  minifySyntax: true,
  platform: "node",
  format: "cjs",
  target: "node24",
  // Files beside the source (manifests) are looked up from the executable's folder.
  define: {
    "import.meta.url": "__airferry_url",
    "import.meta.dirname": "__dirname",
    "import.meta.filename": "__filename",
  },
  banner: { js: 'const __airferry_url = require("node:url").pathToFileURL(__filename).href;' },
  logLevel: "error",
} as const;
await build({ ...bundled, entryPoints: [join(root, "src", "bin.ts")], outfile: file("airferry.cjs") });
// What runs in a thread of its own: src/io/parser-thread.ts.
const THREADS = { "parser-worker.cjs": join(root, "src", "parser-worker.ts") };
for (const [name, entry] of Object.entries(THREADS)) {
  await build({ ...bundled, banner: {}, entryPoints: [entry], outfile: file(name) });
}
// What `init` copies; src/manifest/ready.ts reads it in the executable.
const manifests = join(root, "manifests");
const ready = readdirSync(manifests).filter((name) => name.endsWith(".yaml"));
writeFileSync(
  file("manifests.json"),
  JSON.stringify(
    Object.fromEntries(
      ready.map((name) => [name.slice(0, -".yaml".length), readFileSync(join(manifests, name), "utf8")]),
    ),
  ),
);
writeFileSync(
  file("sea.json"),
  JSON.stringify({
    main: file("airferry.cjs"),
    output: file("sea.blob"),
    disableExperimentalSEAWarning: true,
    useCodeCache: true,
    assets: Object.fromEntries(["manifests.json", ...Object.keys(THREADS)].map((name) => [name, file(name)])),
  }),
);
execFileSync(process.execPath, ["--experimental-sea-config", file("sea.json")], {
  stdio: ["ignore", "ignore", "inherit"],
});
copyFileSync(process.execPath, file("airferry"));
chmodSync(file("airferry"), 0o755);
await inject(file("airferry"), "NODE_SEA_BLOB", readFileSync(file("sea.blob")), {
  sentinelFuse: "NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2",
});
renameSync(file("airferry"), join(dist, "airferry"));
// What has to go with it, wherever it goes.
for (const name of ["LICENSE", "NOTICE"]) copyFileSync(join(root, name), join(dist, name));
writeFileSync(join(dist, "THIRD-PARTY.txt"), thirdParty());
console.log(join(dist, "airferry"));
