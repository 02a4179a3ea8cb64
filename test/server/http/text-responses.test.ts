/** What a running server answers, over real connections. */
import { createHash } from "node:crypto";
import { rm, truncate } from "node:fs/promises";
import t from "tap";
import { digestOf } from "../../../src/io/digest.ts";
import { patterned, sendRaw, startServer } from "../../fixtures/serving.ts";

const BIG = patterned(3 * 1024 * 1024 + 17);
const SMALL = patterned(20_000);

function sha256(bytes: Uint8Array | string): string {
  return createHash("sha256").update(bytes).digest("hex");
}

t.test("whole files, HEAD and validators", async (t) => {
  const { url } = await startServer(t, [
    { stream: "a", content: { "files/big.bin": BIG, "files/small.rpm": SMALL, "files/empty": "" } },
  ]);
  for (const [name, bytes] of Object.entries({ "big.bin": BIG, "small.rpm": SMALL, empty: Buffer.alloc(0) })) {
    for (const round of [1, 2, 3]) {
      const answer = await fetch(`${url}/files/${name}`);
      t.equal(answer.status, 200, `${name} ${round}`);
      t.ok(bytes.equals(Buffer.from(await answer.arrayBuffer())), `${name} has its bytes`);
      t.equal(answer.headers.get("content-length"), String(bytes.length));
      t.equal(answer.headers.get("etag"), `"sha256:${sha256(bytes)}"`);
      t.equal(answer.headers.get("accept-ranges"), "bytes");
    }
    const head = await fetch(`${url}/files/${name}`, { method: "HEAD", headers: { Range: "bytes=0-1" } });
    t.equal(head.status, 200, "HEAD has no ranges");
    t.equal(head.headers.get("content-length"), String(bytes.length));
    const again = await fetch(`${url}/files/${name}`, { headers: { "If-None-Match": head.headers.get("etag")! } });
    t.equal(again.status, 304);
    t.equal((await again.text()).length, 0);
    t.equal((await fetch(`${url}/files/${name}`, { headers: { "If-Match": '"x"' } })).status, 412);
  }
  t.equal((await fetch(`${url}/files/small.rpm`)).headers.get("content-type"), "application/x-rpm");
});

t.test("ranges", async (t) => {
  const { url } = await startServer(t, [{ stream: "a", content: { "files/big": BIG, "files/small": SMALL } }]);
  for (const [name, bytes] of Object.entries({ big: BIG, small: SMALL })) {
    const size = bytes.length;
    const cases: [string, number, number][] = [
      ["0-0", 0, 1],
      ["5-", 5, size],
      ["-7", size - 7, size],
      [`${size - 1}-`, size - 1, size],
      ["1000-9999", 1000, 10_000],
    ];
    for (const [range, start, end] of cases) {
      const answer = await fetch(`${url}/files/${name}`, { headers: { Range: `bytes=${range}` } });
      t.equal(answer.status, 206, range);
      t.equal(answer.headers.get("content-range"), `bytes ${start}-${end - 1}/${size}`);
      t.ok(bytes.subarray(start, end).equals(Buffer.from(await answer.arrayBuffer())), `${name} ${range}`);
    }
    const refused = await fetch(`${url}/files/${name}`, { headers: { Range: `bytes=${size}-` } });
    t.equal(refused.status, 416);
    t.equal(refused.headers.get("content-range"), `bytes */${size}`);
    const stale = await fetch(`${url}/files/${name}`, { headers: { Range: "bytes=0-1", "If-Range": '"other"' } });
    t.equal(stale.status, 200, "If-Range of other bytes gives the whole");
    await stale.body?.cancel();
  }
});

t.test("several ranges in one answer", async (t) => {
  const { url } = await startServer(t, [{ stream: "a", content: { "files/big.iso": BIG, "files/small.iso": SMALL } }]);
  for (const [name, bytes] of Object.entries({ "big.iso": BIG, "small.iso": SMALL })) {
    const answer = await fetch(`${url}/files/${name}`, { headers: { Range: "bytes=0-9, 15000-19999, -1" } });
    t.equal(answer.status, 206);
    const body = Buffer.from(await answer.arrayBuffer());
    t.equal(Number(answer.headers.get("content-length")), body.length, "the length was known before");
    const boundary = /^multipart\/byteranges; boundary=(\S+)$/.exec(answer.headers.get("content-type") ?? "")?.[1];
    t.ok(boundary);
    const parts = parseMultipart(body, boundary!);
    const wanted: [number, number][] = [
      [0, 10],
      [15_000, 20_000],
      [bytes.length - 1, bytes.length],
    ];
    t.equal(parts.length, wanted.length);
    for (const [i, [start, end]] of wanted.entries()) {
      t.match(parts[i]!.head, `Content-Range: bytes ${start}-${end - 1}/${bytes.length}`);
      t.match(parts[i]!.head, "Content-Type: application/x-iso9660-image");
      t.ok(bytes.subarray(start, end).equals(parts[i]!.body), `part ${i} of ${name}`);
    }
  }
});

function parseMultipart(body: Buffer, boundary: string): { head: string; body: Buffer }[] {
  const parts: { head: string; body: Buffer }[] = [];
  const mark = Buffer.from(`\r\n--${boundary}`);
  let at = body.indexOf(mark);
  while (body.subarray(at + mark.length, at + mark.length + 2).toString() !== "--") {
    const headEnd = body.indexOf("\r\n\r\n", at);
    const next = body.indexOf(mark, headEnd);
    parts.push({ head: body.subarray(at, headEnd).toString(), body: body.subarray(headEnd + 4, next) });
    at = next;
  }
  return parts;
}

t.test("sidecars: packed ones win, others are made", async (t) => {
  const { url } = await startServer(t, [
    {
      stream: "a",
      content: {
        "files/v1/x.tgz": SMALL,
        "files/y.tgz": "y",
        "files/y.tgz.sha256": "from upstream\n",
        "isos/r.iso": "iso",
        "rpms/a/p.rpm": "p",
      },
    },
  ]);
  const text = async (path: string) => (await fetch(url + path)).text();
  t.equal(await text("/files/v1/x.tgz.sha256"), `${sha256(SMALL)}\n`);
  t.equal(await text("/files/v1/x.tgz.sha256sum"), `${sha256(SMALL)}  x.tgz\n`);
  t.equal(await text("/files/y.tgz.sha256"), "from upstream\n");
  t.equal(await text("/isos/r.iso.sha256sum"), `${sha256("iso")}  r.iso\n`);
  t.equal((await fetch(`${url}/rpms/a/p.rpm.sha256`)).status, 404, "no inventions in repositories");
  t.equal((await fetch(`${url}/files/none.sha256`)).status, 404);
});

t.test("streams: merged, qualified, in conflict", async (t) => {
  const { url } = await startServer(t, [
    { stream: "a", content: { "files/x": "from a", "files/same": "same", "files/s.txt": "a" } },
    { stream: "b", content: { "files/x": "from b", "files/same": "same", "rpms/r/p.rpm": "b" } },
  ]);
  t.equal(await (await fetch(`${url}/files/same`)).text(), "same");
  const conflict = await fetch(`${url}/files/x`);
  t.equal(conflict.status, 404);
  t.match(await conflict.text(), /\/s\/a\/files\/x\n\/s\/b\/files\/x\n/);
  t.match(await (await fetch(`${url}/files/x.sha256`)).text(), "/s/b/files/x.sha256");
  t.equal(await (await fetch(`${url}/s/b/files/x`)).text(), "from b");
  t.equal((await fetch(`${url}/s/a/rpms/r/p.rpm`)).status, 404);
  t.match(await (await fetch(`${url}/s/nobody/files/x`)).text(), "the streams here are: a, b");
  t.match(await (await fetch(`${url}/s/b/`)).text(), "rpms/");
});

t.test("odd but honest paths are answered in place", async (t) => {
  const { url, port } = await startServer(t, [
    {
      stream: "a",
      content: { "rpms/k/lib+x-1~rc1^2.rpm": "rpm", "rpms/k/.treeinfo": "[tree]", "rpms/k/a:b.rpm": "colon" },
    },
  ]);
  for (const path of [
    "/rpms/k/lib+x-1~rc1^2.rpm",
    "/rpms/k/lib%2Bx-1%7Erc1%5E2.rpm",
    "/rpms//k/./lib%2bx-1~rc1^2.rpm",
  ]) {
    t.match(await sendRaw(port, `GET ${path} HTTP/1.0\r\n\r\n`), /^HTTP\/1.1 200[\s\S]*rpm$/, path);
  }
  t.equal(await (await fetch(`${url}/rpms/k//.treeinfo`)).text(), "[tree]");
  t.equal(await (await fetch(`${url}/rpms/k/a:b.rpm`)).text(), "colon");
  t.equal(await (await fetch(`${url}/rpms/k/a%3Ab.rpm`)).text(), "colon");
  t.equal((await fetch(`${url}/rpms/k/treeinfo`)).status, 404, "an honest 404");
});

t.test("pages for people", async (t) => {
  const { url } = await startServer(t, [
    {
      stream: "a",
      content: { "files/<script>.txt": "x", "files/sub/y": "y" },
      catalog: { files: [{ path: "files/<script>.txt" }] },
    },
  ]);
  const front = await fetch(url);
  t.match(front.headers.get("content-security-policy"), "default-src 'none'");
  const html = await front.text();
  t.match(html, "&lt;script&gt;.txt");
  t.notMatch(html, "<script>.txt");
  t.match(html, "5f3c5f3c5f3c5f3c", "who signed");
  for (const path of ["/files", "/files/"]) {
    const page = await (await fetch(url + path)).text();
    t.match(page, 'href="/files/sub/"');
    t.match(page, 'href="/files/%3Cscript%3E.txt"');
    t.notMatch(page, "<script>.txt");
  }
  t.match(await (await fetch(`${url}/files/?after=%3Cscript%3E.txt`)).text(), "sub/");
});

t.test("a new release is served without a restart", async (t) => {
  const { url, store } = await startServer(t, [{ stream: "a", content: { "files/x": "old" } }]);
  const get = async () => (await fetch(`${url}/files/x`)).text();
  for (let i = 0; i < 3; i++) t.equal(await get(), "old");
  await store.put({ stream: "a", serial: 2, content: { "files/x": "new" } });
  await new Promise((resolve) => setTimeout(resolve, 1100));
  for (let i = 0; i < 3; i++) t.equal(await get(), "new");
  t.match(await (await fetch(`${url}/metrics`)).text(), 'airferry_release_info{stream="a",serial="2"');
});

t.test("a damaged store is a 500 or a cut connection, never a wrong file", async (t) => {
  const { url, store, messages } = await startServer(t, [
    { stream: "a", content: { "files/gone": "gone", "files/short": BIG, "files/ok": "ok" } },
  ]);
  await rm(store.blobPath(digestOf("gone")));
  await truncate(store.blobPath(digestOf(BIG)), 1_500_000);
  const gone = await fetch(`${url}/files/gone`);
  t.equal(gone.status, 500);
  t.match(await gone.text(), "airferry status");
  t.ok(messages.some((message) => message.includes("/files/gone")));
  const faults = async () => /airferry_faults_total (\d+)/.exec(await (await fetch(`${url}/metrics`)).text())?.[1];
  t.equal(await faults(), "1");
  // Too short, for all of it, in a range, and in one of several ranges: each is reported with its path and the fault.
  for (const range of [undefined, "bytes=1000000-1999999", "bytes=0-9,1499990-1500009"]) {
    const headers: Record<string, string> = range === undefined ? {} : { range };
    t.equal((await fetch(`${url}/files/short`, { headers })).status, 500);
    t.match(messages.pop(), /^cannot answer "\/files\/short": .*damaged: expected 3145745 bytes, got 1500000$/);
  }
  t.equal(await faults(), "4");
  t.equal(await (await fetch(`${url}/files/ok`)).text(), "ok");
});

t.test("clients that break off disturb nobody", async (t) => {
  const { url, messages } = await startServer(t, [{ stream: "a", content: { "isos/r.iso": BIG } }]);
  const digest = sha256(BIG);
  const readAll = async () => sha256(Buffer.from(await (await fetch(`${url}/isos/r.iso`)).arrayBuffer()));
  const breakOff = async () => {
    const controller = new AbortController();
    const answer = await fetch(`${url}/isos/r.iso`, { signal: controller.signal });
    const reader = answer.body!.getReader();
    await reader.read();
    controller.abort();
    await reader.read().catch(() => {});
  };
  for (let round = 0; round < 5; round++) {
    const readers = Array.from({ length: 6 }, readAll);
    await Promise.all(Array.from({ length: 20 }, breakOff));
    t.same(new Set(await Promise.all(readers)), new Set([digest]), `round ${round}`);
  }
  t.strictSame(messages, [], "and are no fault of the server's");
  t.match(await (await fetch(`${url}/metrics`)).text(), /airferry_faults_total 0/);
});
