/** What people and programs look at beside the tree: packages, images, releases. */
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import t, { type Test } from "tap";
import { serve } from "../../../src/serve.ts";
import { manyPackages, unpackPageStream } from "../../fixtures/page-store.ts";
import { scratch } from "../../fixtures/program.ts";

async function served(t: Test, store: string) {
  const messages: string[] = [];
  const serving = await serve({ store, listen: "127.0.0.1:0", onMessage: (it) => messages.push(it) });
  t.teardown(() => serving.close());
  return { url: serving.urls.at(-1)!, messages };
}

const HTML = { headers: { accept: "text/html,application/xhtml+xml" } };

interface Found {
  total: number;
  more: boolean;
  page: number;
  pages: number;
  packages: { name: string; path?: string; stream: string; version: string; repository: string }[];
  repositories: { path: string; packages: number }[];
}

async function found(url: string): Promise<Found> {
  let answer = await fetch(url);
  // While an index is made.
  for (let i = 0; i < 20 && answer.status === 503; i++) {
    await setTimeout(1000);
    answer = await fetch(url);
  }
  if (answer.status !== 200) throw new Error(`${url}: ${answer.status}`);
  return (await answer.json()) as Found;
}

t.test("packages are found in 20,000, whether or not unpack left an index", { timeout: 240_000 }, async (t) => {
  const dir = scratch(t);
  const store = await unpackPageStream(dir, { stream: "a", packages: manyPackages(20_000) });
  const record = join(store, "releases/a/000001/packages.idx");
  for (const state of ["from the record", "damaged", "made by serve"]) {
    if (state === "damaged") writeFileSync(record, "not an index");
    if (state === "made by serve") rmSync(record);
    const { url, messages } = await served(t, store);
    t.match(await found(`${url}/packages.json?q=config(thing-19999)`), { total: 1, more: false, pages: 1 }, state);
    t.match(await found(`${url}/packages.json?q=lib`), { total: 1000, more: true, pages: 10 });
    t.match((await found(`${url}/packages.json?q=LIB19998.SO.1()(64BIT)`)).packages, [
      { repository: "rpms/kubernetes/" },
    ]);
    t.strictSame((await found(`${url}/packages.json?q=nothing+has+this`)).packages, []);
    const queries = ["python3", "e", "thing 777", "server-client", "zzz", "libx.so"];
    const rounds: number[] = [];
    for (let round = 0; round < 4; round++) {
      const before = process.cpuUsage();
      for (const it of queries) await found(`${url}/packages.json?q=${it}`);
      const { user, system } = process.cpuUsage(before);
      rounds.push((user + system) / 1000 / queries.length);
    }
    const each = Math.min(...rounds);
    t.ok(each < 50, `${each.toFixed(1)} ms of processor time a query, this client included`);
    t.strictSame(messages, []);
  }
});

t.test("lists of packages have pages, and RPMs that are here a path", async (t) => {
  const store = await unpackPageStream(scratch(t), { stream: "a", packages: manyPackages(250) });
  const { url } = await served(t, store);
  const base = `${url}/packages.json?repo=rpms/kubernetes/`;
  const names = new Set<string>();
  for (const page of [1, 2, 3]) {
    const list = await found(`${base}&page=${page}`);
    t.match(list, { total: 250, page, pages: 3, repositories: [{ path: "rpms/kubernetes/", packages: 250 }] });
    for (const it of list.packages) names.add(it.name);
    for (const { path } of list.packages) if (path) t.equal((await fetch(url + path)).status, 200, path);
  }
  t.equal(names.size, 250);
  t.equal((await found(`${base}&page=9`)).packages.length, 0);
  t.equal((await found(`${base}&page=x`)).page, 1);
  t.equal((await found(`${url}/packages.json?repo=rpms/none/`)).total, 0);
  t.equal((await found(`${url}/packages.json`)).packages.length, 0, "without a question only the repositories");
  t.equal((await fetch(`${url}/s/none/packages.json`)).status, 404);
  const page = await (await fetch(`${url}/packages?q=config(thing-7)`)).text();
  t.match(page, "perl-lib-7");
  t.match(await (await fetch(`${url}/packages?q=%3Cscript%3E`)).text(), 'value="&lt;script&gt;"');
});

t.test("no number of searches is done at once", async (t) => {
  const store = await unpackPageStream(scratch(t), { stream: "a", packages: manyPackages(3000) });
  const { url } = await served(t, store);
  await found(`${url}/packages.json?q=first`);
  const answers = await Promise.all(
    Array.from({ length: 300 }, (_, at) =>
      fetch(`${url}/packages.json?q=x${at}`).then(async (it) => [it.status, await it.text()]),
    ),
  );
  const statuses = answers.map(([status]) => status);
  t.ok(statuses.includes(200) && statuses.includes(503), "some are told to come back");
  t.equal(statuses.filter((it) => it !== 200 && it !== 503).length, 0);
  t.equal((await fetch(`${url}/packages.json?q=x`)).status, 200, "and then can");
});

t.test("releases: history, what changed, and where it is found", async (t) => {
  const dir = scratch(t);
  const packages = manyPackages(30);
  await unpackPageStream(dir, { stream: "a", packages: packages.slice(1) });
  const store = await unpackPageStream(dir, { stream: "a", packages, serial: 2 });
  const { url } = await served(t, store);
  const text = async (path: string) => {
    const answer = await fetch(url + path);
    t.equal(answer.status, 200, path);
    return answer.text();
  };
  for (const path of ["/releases/", "/releases", "/s/a/releases/"]) {
    t.match(await text(path), /\/s\/a\/releases\/000002.*\/s\/a\/releases\/000001/s, path);
  }
  const changes = await text("/s/a/releases/000002");
  t.match(changes, /lib-lib-0\.noarch<\/td><td>added/);
  t.match(await text("/s/a/releases/000001?from=000002"), /lib-lib-0\.noarch<\/td><td>removed/);
  t.match(await text("/s/a/releases/000001"), "No other release of this stream");
  for (const path of ["/s/a/releases/000003", "/s/b/releases/", "/releases/000002", "/s/a/releases/000002/x"]) {
    t.equal((await fetch(url + path)).status, 404, path);
  }
  t.match(await text("/"), 'href="/s/a/BOM.html"');
  t.match(await text("/BOM.html"), "Made of this");
  t.match((await fetch(`${url}/s/a/BOM.html`)).headers.get("content-security-policy"), "sandbox allow-scripts");
  t.match(await (await fetch(`${url}/BOM.cdx.json`)).json(), { bomFormat: "CycloneDX" });
  t.equal((await fetch(`${url}/s/none/BOM.html`)).status, 404);
  const both = await unpackPageStream(dir, { stream: "b", packages });
  const { url: two } = await served(t, both);
  const asked = await fetch(`${two}/BOM.html`);
  t.equal(asked.status, 404);
  t.match(await asked.text(), "/s/a/BOM.html\n/s/b/BOM.html");
  t.match(await text("/"), /ci-signing\.pub <code/, "signers by the names of their keys");
  t.match(await text("/s/a/"), "1 of 2 sources", "what was pinned on first sight");
});

t.test("what is not here is a page for browsers, and a text for programs", async (t) => {
  const dir = scratch(t);
  const store = await unpackPageStream(dir, { stream: "a", packages: manyPackages(3) });
  const { url } = await served(t, store);
  const path = "/files/containerd-2.1.5-linux-amd64.tar.gz";
  const page = await fetch(url + path, HTML);
  t.equal(page.status, 404);
  t.equal(page.headers.get("content-type"), "text/html; charset=utf-8");
  t.match(page.headers.get("vary"), /accept/i);
  t.match(page.headers.get("content-security-policy"), "default-src 'none'");
  const shown = await page.text();
  t.match(shown, '<a href="/files/containerd-2.1.4-linux-amd64.tar.gz">', "what is near");
  t.match(shown, 'See <a href="/files/">/files/</a> for what is there.', "its folder");
  for (const accept of ["*/*", "application/json", "application/xml, */*"]) {
    const answer = await fetch(url + path, { headers: { accept } });
    t.equal(answer.headers.get("content-type"), "text/plain; charset=utf-8", accept);
    t.match(await answer.text(), /^404: there is no "\/files\/containerd-2\.1\.5/);
  }
  const head = await fetch(url + path, { ...HTML, method: "HEAD" });
  t.equal(head.status, 404);
  t.match((await fetch(`${url}/v2/none/manifests/x`, HTML)).headers.get("content-type"), "application/json");
  for (const odd of ["/s/nowhere/", "/s/nowhere/files/x", "/%3Ci%3E", `/${"x".repeat(10_000)}`]) {
    const answer = await fetch(url + odd, HTML);
    t.equal(answer.status, 404, odd.slice(0, 20));
    t.match(answer.headers.get("content-type"), "text/html");
    t.ok((await answer.text()).length < 20_000);
  }
});
