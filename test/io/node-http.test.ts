import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";

const src = join(import.meta.dirname, "../../src");

/** Which of Node's own modules a process has loaded after running a script. */
function loadedBy(script: string): string[] {
  const code = `${script}\nconsole.log(JSON.stringify(process.moduleLoadList));`;
  const args = ["--disable-warning=ExperimentalWarning", "--input-type=module", "-e", code];
  return JSON.parse(execFileSync(process.execPath, args, { cwd: src, encoding: "utf8" }));
}

t.test("neither a request nor a server loads a second HTTP client; a request over HTTP loads no TLS", async (t) => {
  const loaded = loadedBy(`
    const { listen } = await import("./server/http/listener.ts");
    const { createFetcher } = await import("./fetch/fetcher.ts");
    const { createServer } = process.getBuiltinModule("node:http");
    const server = createServer((_, response) => response.end("bytes")).listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const fetcher = createFetcher({ env: {}, netrc: false });
    const url = "http://127.0.0.1:" + server.address().port + "/x";
    const { bytes } = await fetcher.fetchBytes({ urls: [url], named: { by: "user" }, maxBytes: 100 });
    if (String(bytes) !== "bytes" || listen.length === 0) throw new Error("nothing was tried");
    await fetcher.close();
    server.close();`);
  const found = (name: RegExp) => loaded.filter((it) => name.test(it));
  t.not(found(/_http_client/).length, 0, "the list is what it seems");
  t.same(found(/undici/), []);
  t.same(found(/_tls_wrap|\bhttps$/), []);
});

t.test("no file imports the values of node:http or node:https", async (t) => {
  const files = readdirSync(src, { recursive: true, encoding: "utf8" }).filter((it) => it.endsWith(".ts"));
  const importing = files.filter((it) =>
    /^import (?!type\b)[^;]*from "node:https?"/m.test(readFileSync(join(src, it), "utf8")),
  );
  t.not(files.length, 0);
  t.same(importing, []);
});
