/**
 * The pages that are files of their own, in Chromium: the bill of materials, the report of a verification, and the
 * difference of two bundles. Accessible in both themes (axe-core), and no wider than a phone.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import t from "tap";
import { openBrowser } from "../fixtures/browser.ts";
import { needs } from "../fixtures/clients.ts";
import { airferry } from "../fixtures/host.ts";
import { scratch, writeManifest } from "../fixtures/program.ts";
import { buildRpmTree, RPM_BUILDERS } from "../fixtures/rpm-tree.ts";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
/** Where to leave pictures of the pages, to be looked at. */
const PICTURES = process.env["AIRFERRY_PAGE_PICTURES"];

t.test("documents for people", { timeout: 300_000 }, async (t) => {
  if (!needs(t, "chromium", ...RPM_BUILDERS)) return;
  const dir = scratch(t);
  const tree = await buildRpmTree(join(dir, "tree"));
  writeFileSync(join(dir, "key.asc"), tree.key);
  const ok = async (...args: string[]) => {
    const ran = await airferry(dir, args);
    t.equal(ran.status, 0, `${args[0]}: ${ran.stderr}`);
    return ran.stdout;
  };
  await ok("keygen", "--out", "site");
  for (const [index, name] of ["app", "base"].entries()) {
    writeFileSync(join(dir, "a.txt"), name);
    writeManifest(dir, { rpms: [{ name: "r", path: `tree/${name}`, keys: ["key.asc"] }], files: [{ path: "a.txt" }] });
    await ok("lock", "m.yaml", "--update");
    await ok("pack", "m.yaml", "--key", "site.key", "--out", "out", "--serial", String(index + 1));
  }
  const [first, second] = ["out/test-000001", "out/test-000002"] as const;
  await ok("verify", first, "--trust", "site.pub", "--report", "good.html");
  await airferry(dir, ["keygen", "--out", "other"]);
  t.equal((await airferry(dir, ["verify", first, "--trust", "other.pub", "--report", "refused.html"])).status, 3);
  await ok("diff", first, second, "--html", "diff.html");

  const tab = await openBrowser(t);
  if (PICTURES !== undefined) mkdirSync(PICTURES, { recursive: true });
  for (const file of [`${second}/BOM.html`, "good.html", "refused.html", "diff.html"]) {
    const name = file.slice(file.lastIndexOf("/") + 1, -".html".length);
    for (const [width, height] of [
      [360, 740],
      [1280, 900],
    ] as const) {
      await tab.size(width, height);
      await tab.open(pathToFileURL(join(dir, file)).href);
      const wide = await tab.run<number>("document.documentElement.scrollWidth");
      t.ok(wide <= width, `${name}: ${wide} of ${width} pixels`);
      await tab.run(AXE);
      for (const theme of ["light", "dark"] as const) {
        await tab.theme(theme);
        const found = await tab.run<{ id: string; nodes: { html: string; failureSummary: string }[] }[]>(
          "axe.run().then(({ violations }) => violations)",
        );
        const lines = found.map(({ id, nodes: [node] }) => `${id}: ${node?.html} ${node?.failureSummary}`);
        t.strictSame(lines, [], `${name}, ${theme}, ${width}`);
        if (PICTURES !== undefined) writeFileSync(join(PICTURES, `${name}-${width}-${theme}.png`), await tab.picture());
      }
    }
  }
  t.strictSame(tab.complaints, [], "no script failed, and the policy refused nothing");
});
