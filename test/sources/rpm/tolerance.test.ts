/** What clients make do with is told and done without; what they need is still needed. */
import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
import t from "tap";
import { airferry } from "../../fixtures/host.ts";
import { scratch, writeManifest } from "../../fixtures/program.ts";
import { makeRepository } from "../../fixtures/rpm-metadata.ts";
import { startUpstream, type UpstreamFile } from "../../fixtures/upstream.ts";

/** A repository with more records in its repomd.xml. */
async function withRecords(records: [type: string, name: string, text: string][]): Promise<Map<string, UpstreamFile>> {
  const { files } = await makeRepository([{ name: "app" }]);
  let repomd = (files.get("repodata/repomd.xml") as Buffer).toString("utf8");
  for (const [type, name, text] of records) {
    const bytes = gzipSync(text);
    const sum = createHash("sha256").update(bytes).digest("hex");
    files.set(`repodata/${name}`, bytes);
    const data = `<data type="${type}"><checksum type="sha256">${sum}</checksum><location href="repodata/${name}"/></data>`;
    repomd = repomd.replace("</repomd>", `${data}</repomd>`);
  }
  files.set("repodata/repomd.xml", Buffer.from(repomd));
  return new Map([...files].map(([path, bytes]) => [`/r/${path}`, bytes]));
}

async function planOver(t: Tap, files: Map<string, UpstreamFile>, entry: object, handler?: Handler) {
  const upstream = await startUpstream({ files, ...(handler && { handler }) });
  t.teardown(() => upstream.close());
  const dir = scratch(t);
  const text = JSON.stringify({ rpms: [{ name: "r", url: "@UPSTREAM@/r/", gpgcheck: false, ...entry }] });
  writeManifest(dir, JSON.parse(text.replaceAll("@UPSTREAM@", upstream.url)));
  return { upstream, ...(await airferry(dir, ["plan", "m.yaml", "--json"])) };
}

type Tap = Parameters<typeof scratch>[0];
type Handler = NonNullable<NonNullable<Parameters<typeof startUpstream>[0]>["handler"]>;

const MODULES = `---
document: modulemd
version: 2
data: { name: web, stream: [1], stream: 2 }
...
---
document: modulemd-defaults
version: 1
data: { module: web, stream: "1" }
...
`;

t.test("one bad modulemd document is ignored, the others count", async (t) => {
  for (const entry of [{}, { packages: ["app"] }]) {
    const ran = await planOver(t, await withRecords([["modules", "modules.yaml.gz", MODULES]]), entry);
    t.equal(ran.status, 0, ran.stderr);
    t.match(ran.stderr, /modules\.yaml: ignored document 1: /);
  }
});

t.test("a subset of a repository with ill-formed advisories has none, unless they are asked for", async (t) => {
  const files = await withRecords([["updateinfo", "updateinfo.xml.gz", "<updates><update><id>A</id></updates>"]]);
  const ran = await planOver(t, files, { packages: ["app"] });
  t.equal(ran.status, 0, ran.stderr);
  t.match(ran.stderr, /updateinfo\.xml.*carried without advisories/);
  const asked = await planOver(t, files, { advisories: ["security"] });
  t.not(asked.status, 0);
  t.match(asked.stderr, /updateinfo\.xml/);
});

t.test("a type of record listed twice: the same one once, of others the first alone", async (t) => {
  const empty = "<updates></updates>";
  const same = await withRecords([
    ["updateinfo", "u.xml.gz", empty],
    ["updateinfo", "u.xml.gz", empty],
  ]);
  const once = await planOver(t, same, {});
  t.equal(once.status, 0, once.stderr);
  t.equal(once.stdout.split('repodata/u.xml.gz"').length - 1 > 0, true);
  const copies = await planOver(
    t,
    await withRecords([
      ["updateinfo", "u.xml.gz", empty],
      ["updateinfo", "v.xml.gz", empty],
    ]),
    {},
  );
  for (const name of ["u.xml.gz", "v.xml.gz"]) t.match(copies.stdout, name, "dnf reads copies");
  const two = await withRecords([
    ["updateinfo", "u.xml.gz", empty],
    ["updateinfo", "v.xml.gz", `${empty}\n`],
  ]);
  const both = await planOver(t, two, {});
  t.equal(both.status, 0, both.stderr);
  t.match(both.stderr, /lists "updateinfo" more than once; the first is read/);
  for (const name of ["u.xml.gz", "v.xml.gz"]) t.notMatch(both.stdout, name, "its repomd.xml is written anew");
});

t.test("two different primaries: the packages of the first", async (t) => {
  const files = await withRecords([]);
  const { files: others } = await makeRepository([{ name: "later" }]);
  const [path, bytes] = [...others].find(([it]) => it.endsWith("-primary.xml.gz")) as [string, Buffer];
  const repomd = String(files.get("/r/repodata/repomd.xml"));
  const sum = createHash("sha256").update(bytes).digest("hex");
  const data = `<data type="primary"><checksum type="sha256">${sum}</checksum><location href="${path}"/></data>`;
  files.set(`/r/${path}`, bytes);
  files.set("/r/repodata/repomd.xml", Buffer.from(repomd.replace("</repomd>", `${data}</repomd>`)));
  const ran = await planOver(t, files, {});
  t.equal(ran.status, 0, ran.stderr);
  t.match(ran.stderr, /lists "primary" more than once; the first is read/);
  t.match(ran.stdout, "app-1-1.noarch.rpm");
  t.notMatch(ran.stdout, "later-1-1.noarch.rpm");
  t.notMatch(ran.stdout, sum);
});

t.test("an ill-formed .treeinfo costs what is ill-formed in it, not the repository", async (t) => {
  const image = "[images-x86_64]\r\nkernel = vmlinuz\r\n";
  const rows: [what: string, text: Buffer | string, told: RegExp | undefined, kernel: boolean][] = [
    ["no section", "garbage\nfamily = X\n", /none of the sections.*carried without the installation tree/, false],
    [
      "a mark, CRLF, garbage, doubled keys",
      `\ufeff[general]\r\nx\r\nfamily=A\r\nfamily=B\r\n${image}`,
      undefined,
      true,
    ],
    ["UTF-16", Buffer.from(`\ufeff[general]\nfamily=A\n${image}`, "utf16le"), undefined, true],
    ["a bad checksum", `[general]\n${image}[checksums]\nvmlinuz = sha256:00\n`, /malformed checksum.*ignored/, true],
    ["a path above", `[general]\n[stage2]\nmainimage = ../../x\n${image}`, /leaves the tree; ignored/, true],
  ];
  for (const [what, text, told, kernel] of rows) {
    const files = await withRecords([]);
    files.set("/r/.treeinfo", Buffer.from(text as string));
    files.set("/r/vmlinuz", Buffer.from("kernel"));
    const ran = await planOver(t, files, {});
    t.equal(ran.status, 0, `${what}: ${ran.stderr}`);
    if (told) t.match(ran.stderr, told, what);
    t.equal(ran.stdout.includes("rpms/r/vmlinuz"), kernel, what);
    t.equal(ran.stdout.includes("rpms/r/.treeinfo"), kernel, what);
  }
});

t.test("odd answers for files that need not be there are taken as none", async (t) => {
  const answers: [number, string, string][] = [
    [200, "text/html", "<!DOCTYPE html><html>not here</html>"],
    [200, "application/json", '[{"errors":[{"status":404}]}]'],
    [400, "text/plain", ""],
    [401, "text/plain", ""],
    [406, "text/plain", ""],
    [451, "text/plain", ""],
  ];
  const files = await withRecords([]);
  for (const [status, type, body] of answers) {
    const ran = await planOver(t, files, {}, ({ url }, response) => {
      if (files.has(url ?? "")) return false;
      response.writeHead(status, { "content-type": type }).end(body);
      return true;
    });
    t.equal(ran.status, 0, `${status} ${type}: ${ran.stderr}`);
    t.notMatch(ran.stdout, /repomd\.xml\.asc|treeinfo/, "no page is carried as one of them");
  }
});

t.test("repo_gpgcheck: false stops the question for a signature", async (t) => {
  const files = await withRecords([]);
  const off = await planOver(t, files, { repo_gpgcheck: false });
  t.equal(off.status, 0, off.stderr);
  t.equal(off.upstream.of("/r/repodata/repomd.xml.asc").length, 0);
});

t.test("servers that are unwell are no answer for optional files", async (t) => {
  const files = await withRecords([]);
  const ran = await planOver(t, files, { kickstart: false }, ({ url }, response) => {
    if (!url?.endsWith(".asc")) return false;
    response.writeHead(500, { "retry-after": "0" }).end();
    return true;
  });
  t.equal(ran.status, 4, ran.stderr);
});

t.test("a first mirror whose metadata is damaged or half there is passed over", async (t) => {
  const good = await withRecords([]);
  const page = Buffer.from("<html>maintenance</html>");
  for (const broken of ["repomd", "primary"]) {
    const files = new Map(good);
    for (const [path, bytes] of good) {
      const hit = path.includes(broken);
      if (hit && broken === "primary") continue;
      files.set(path.replace("/r/", "/bad/"), hit ? page : bytes);
    }
    // Another version of the same: its primary is nowhere else.
    if (broken === "primary") {
      const other = (await makeRepository([{ name: "newer" }])).below("/bad/");
      for (const [path, bytes] of other) if (!path.includes("primary")) files.set(path, bytes);
    }
    const ran = await planOver(t, files, { url: undefined, urls: ["@UPSTREAM@/bad/", "@UPSTREAM@/r/"] });
    t.equal(ran.status, 0, `${broken}: ${ran.stderr}`);
    t.match(ran.stdout, "app-1-1.noarch.rpm");
    t.match(ran.stderr, /trying another mirror/);
  }
});

t.test("a metalink under mirrorlist: is read as what it is", async (t) => {
  const files = await withRecords([]);
  const sum = createHash("sha256")
    .update(files.get("/r/repodata/repomd.xml") as Buffer)
    .digest("hex");
  const ran = await planOver(
    t,
    files,
    { url: undefined, mirrorlist: "@UPSTREAM@/list" },
    ({ url, headers }, response) => {
      if (url !== "/list") return false;
      response.end(
        `<?xml version="1.0"?><metalink version="3.0"><files><file name="repomd.xml"><verification><hash type="sha256">${sum}</hash></verification><resources><url>http://${headers.host}/r/repodata/repomd.xml</url></resources></file></files></metalink>`,
      );
      return true;
    },
  );
  t.equal(ran.status, 0, ran.stderr);
});
