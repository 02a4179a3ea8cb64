/** Every kind of page in Chromium: accessible in both themes (axe-core), no wider than a phone, and whole without scripts. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import t from "tap";
import { serve } from "../../src/serve.ts";
import { openBrowser, type Tab } from "../fixtures/browser.ts";
import { needs } from "../fixtures/clients.ts";
import { manyPackages, unpackPageStream } from "../fixtures/page-store.ts";
import { scratch } from "../fixtures/program.ts";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
/** Where to leave pictures of the pages, to be looked at. */
const PICTURES = process.env.AIRFERRY_PAGE_PICTURES;

const PAGES: Readonly<Record<string, string>> = {
  front: "/",
  stream: "/s/rocky-9-capi/",
  repositories: "/packages",
  repository: "/packages?repo=rpms%2Fkubernetes%2F",
  search: "/packages?q=python3",
  "search-nothing": "/packages?q=zzzzzz",
  images: "/registry",
  releases: "/releases/",
  release: "/s/rocky-9-capi/releases/000002",
  "first-release": "/s/tools/releases/000007",
  directory: "/files/",
  isos: "/isos/",
  configuration: "/config/",
  "not-found": "/files/release/v1.33.4/bin/linux/amd64/kubeadmn",
};

interface Violation {
  id: string;
  help: string;
  nodes: { html: string; failureSummary: string }[];
}

/** What axe finds wrong, a line each. */
async function violations(tab: Tab): Promise<string[]> {
  if (!(await tab.run<boolean>("typeof axe === 'object'"))) await tab.run(AXE);
  const found = await tab.run<Violation[]>("axe.run().then(({ violations }) => violations)");
  return found.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes[0]?.html} ${nodes[0]?.failureSummary}`);
}

t.test("pages for people", { timeout: 600_000 }, async (t) => {
  if (!needs(t, "chromium")) return;
  const dir = scratch(t);
  const packages = manyPackages(250);
  const hostile = { name: "evil", summary: `<script>document.title="RAN"</script> \u202e${"x".repeat(10_000)}` };
  await unpackPageStream(dir, { stream: "rocky-9-capi", packages: packages.slice(3) });
  const expired = { notAfter: "2099-01-01T00:00:00Z", images: 4, serial: 2 };
  const store = await unpackPageStream(dir, { stream: "rocky-9-capi", packages: [hostile, ...packages], ...expired });
  await unpackPageStream(dir, { stream: "tools", packages: packages.slice(0, 20), serial: 7 });
  const serving = await serve({ store, listen: "127.0.0.1:0" });
  t.teardown(() => serving.close());
  const base = serving.urls.at(-1)!;
  const tab = await openBrowser(t);
  if (PICTURES !== undefined) mkdirSync(PICTURES, { recursive: true });

  for (const [name, path] of Object.entries(PAGES)) {
    for (const [width, height] of [
      [360, 740],
      [1280, 900],
    ] as const) {
      await tab.size(width, height);
      await tab.open(base + path);
      const wide = await tab.run<number>("document.documentElement.scrollWidth");
      t.ok(wide <= width, `${name}: ${wide} of ${width} pixels`);
      for (const theme of ["light", "dark"] as const) {
        await tab.theme(theme);
        t.strictSame(await violations(tab), [], `${name}, ${theme}, ${width}`);
        if (PICTURES !== undefined) writeFileSync(join(PICTURES, `${name}-${width}-${theme}.png`), await tab.picture());
      }
    }
  }
  const refused = tab.complaints.filter((it) => !/404/.test(it));
  t.strictSame(refused, [], "no script failed, and the policy refused nothing");

  await tab.open(`${base}/packages?q=evil`);
  t.equal(await tab.run("document.title"), "Packages: evil · airferry", "a summary runs nothing");
  t.equal(await tab.run("document.scripts.length"), 1, "and the only script is ours");

  await tab.open(`${base}/`);
  const copied = await tab.run<string>(`new Promise((resolve) => {
    document.addEventListener("copy", () => resolve(String(getSelection())));
    Object.defineProperty(navigator, "clipboard", { value: { writeText: async (text) => resolve(text) } });
    document.querySelector("button.copy").click();
  })`);
  t.match(
    copied,
    `curl -fsSo /etc/yum.repos.d/airferry.repo ${base}/config/airferry.repo`,
    "the button copies the lines",
  );
  await tab.run(`document.dispatchEvent(new KeyboardEvent("keydown", { key: "/" }))`);
  t.equal(await tab.run("document.activeElement.id"), "q", "a key goes to the search");

  await tab.scripts(false);
  await tab.open(`${base}/`);
  t.equal(await tab.run("document.querySelectorAll('button.copy').length"), 0, "no button that does nothing");
  t.equal(await tab.run("document.querySelector('form').method"), "get");
  await tab.run("document.querySelector('#q').value = 'python3'");
  const action = await tab.run<string>("new URL(document.querySelector('form').action).pathname");
  t.equal(action, "/packages");
  await tab.open(`${base}${action}?q=config(thing-7)`);
  t.equal(await tab.run("document.querySelectorAll('tbody tr').length"), 2, "one in each stream");
});
