/** Repositories with odd names and places, behind a metalink, in the codecs that there are: carried into dnf. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync, zstdCompressSync } from "node:zlib";
import t from "tap";
import { needs } from "../fixtures/clients.ts";
import { carryAcross, dnf, rpmBench, run } from "../fixtures/rpm-carry.ts";
import { sha256Of } from "../fixtures/rpm-distribution.ts";
import { startUpstream, type UpstreamFile } from "../fixtures/upstream.ts";

const bench = await rpmBench(t);
if (bench !== undefined) {
  const { work, tree } = bench;

  /** The base repository with other places for some packages; metadata in `codec`, its files by plain names. */
  function moved(to: string, codec: "xz" | "bz2" | "zst", places: Record<string, string>): Map<string, UpstreamFile> {
    const served = new Map([...tree.served("base")].map(([path, bytes]) => [path.slice("/base/".length), bytes]));
    const text = (type: string) => {
      const path = [...served.keys()].find((it) => it.endsWith(`${type}.xml.gz`)) as string;
      return gunzipSync(served.get(path) as Buffer);
    };
    const pack = {
      xz: (open: Buffer) => execFileSync("xz", ["-c"], { input: open }),
      bz2: (open: Buffer) => execFileSync("bzip2", ["-c"], { input: open }),
      zst: (open: Buffer) => zstdCompressSync(open),
    }[codec];
    const files = new Map<string, UpstreamFile>();
    let primary = text("primary").toString();
    for (const [name, location] of Object.entries(places)) {
      const old = new RegExp(`<location href="(Packages/${name.replace(/\+/g, "\\+")}-[^"]*)"/>`).exec(primary);
      primary = primary.replace(old?.[0] as string, location);
      const href = /href="([^"]*)"/.exec(location)?.[1] as string;
      const base = /xml:base="[^"]*(\/[^/"]*\/)"/.exec(location)?.[1] ?? to;
      const { pathname } = new URL(href.replaceAll("+", "%2B"), `http://x${base}`);
      files.set(
        decodeURI(pathname),
        served.get(encodeURIComponent(old?.[1] as string).replaceAll("%2F", "/")) as Buffer,
      );
    }
    for (const [path, bytes] of served) if (path.startsWith("Packages/")) files.set(`${to}${path}`, bytes);
    const records = ["primary", "filelists", "other"].map((type) => {
      const bytes = pack(type === "primary" ? Buffer.from(primary) : text(type));
      files.set(`${to}repodata/${type}.xml.${codec}`, bytes);
      return `<data type="${type}"><checksum type="sha256">${sha256Of(bytes)}</checksum><location href="repodata/${type}.xml.${codec}"/></data>`;
    });
    const xmlns = 'xmlns="http://linux.duke.edu/metadata/repo"';
    const repomd = `<repomd ${xmlns}><revision>1</revision>${records.join("")}</repomd>`;
    return files.set(`${to}repodata/repomd.xml`, Buffer.from(repomd));
  }

  t.test("odd names and places, a metalink with a dead mirror, xz, bzip2 and zstd: carried into dnf", async (t) => {
    if (!needs(t, "xz", "bzip2")) return;
    const upstream = await startUpstream();
    t.teardown(() => upstream.close());
    const inside = {
      "aft-lib-1.1": '<location href="Packages/1:aft-lib++1.1~rc^2.rpm"/>',
      "aft-words": '<location href="aft words:3.rpm"/>',
    };
    const outside = {
      "aft-lib-1.1": '<location href="../../pool/aft-lib++.rpm"/>',
      "aft++": `<location xml:base="${upstream.url}/elsewhere/" href="aft%2b%2b.rpm"/>`,
      "aft-words": '<location href="Packages/aft%20words%2B.rpm"/>',
    };
    const repositories = [
      moved("/core:/stable:/rpm/", "xz", inside),
      moved("/a/b/rpm/", "bz2", outside),
      moved("/zstd/", "zst", {}),
    ];
    for (const files of repositories) for (const [path, bytes] of files) upstream.files.set(path, bytes);
    upstream.files.set("/key", tree.key);
    const closed = await startUpstream();
    await closed.close();
    const urls = [closed.url, upstream.url]
      .map((it, at) => `<url preference="${100 - at}">${it}/core:/stable:/rpm/repodata/repomd.xml</url>`)
      .join("");
    const hash = sha256Of(upstream.files.get("/core:/stable:/rpm/repodata/repomd.xml") as Buffer);
    const file = `<file name="repomd.xml"><verification><hash type="sha256">${hash}</hash></verification><resources>${urls}</resources></file>`;
    upstream.files.set(
      "/link",
      `<metalink version="3.0" xmlns="http://www.metalinker.org/"><files>${file}</files></metalink>`,
    );
    const dir = join(work, "odd");
    mkdirSync(dir);
    const keys = [`${upstream.url}/key`];
    const rpms = [
      { name: "inside", metalink: `${upstream.url}/link`, keys },
      { name: "outside", url: `${upstream.url}/a/b/rpm`, keys },
      { name: "zstd", url: `${upstream.url}/zstd/`, keys, packages: ["aft-lib", "aft-words", "aft++"] },
    ];
    const carried = await carryAcross(t, dir, { stream: "odd", rpms }, "../k");
    t.equal(carried.packed.status, 0, carried.packed.stderr);
    const { catalog } = JSON.parse(readFileSync(join(carried.bundle, "airferry.json"), "utf8")) as {
      catalog: { rpms: { mode: string }[] };
    };
    t.same(
      catalog.rpms.map((it) => it.mode),
      ["exact", "subset", "subset"],
    );
    for (const { name } of rpms) {
      const section = new RegExp(`\\[airferry-${name}\\][^[]*`).exec(carried.repos)?.[0] ?? "";
      const installed = await dnf(dir, name, section, "install", "aft-lib", "aft-words", "aft++");
      t.equal(installed.status, 0, `${name}: ${installed.out}`);
      const list = await run("rpm", ["--root", join(dir, name), "-qa"], dir);
      for (const it of ["aft-lib-1.1-1", "aft-words-3-1", "aft++-1.0^git1~rc-1"])
        t.ok(list.out.includes(it), `${name}: ${it}`);
    }
  });
}
