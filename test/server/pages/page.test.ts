/** What a browser may do with answers: packed content runs nothing here, our own pages have their style and no more. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import t from "tap";
import { clientEnv, clientPath, needs } from "../../fixtures/clients.ts";
import { startServer } from "../../fixtures/serving.ts";

const run = promisify(execFile);
const PAGE = "default-src 'none'; style-src 'sha256-";
const CONTENT = "default-src 'none'; sandbox";

const RAN = "SCRIPT-RAN";
const SCRIPT = `document.documentElement.setAttribute("title", "${RAN}"); document.title = "${RAN}";`;
const XHTML = `<html xmlns="http://www.w3.org/1999/xhtml"><head><title>quiet</title></head><body><script>${SCRIPT}</script></body></html>`;
const SVG = `<svg xmlns="http://www.w3.org/2000/svg"><title>quiet</title><script>${SCRIPT}</script></svg>`;
const HTML = `<!doctype html><title>quiet</title><script>${SCRIPT}</script><img src="x" onerror='${SCRIPT}'>`;
const XSLT = `<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform"><xsl:template match="/"><html><body><script>${SCRIPT}</script></body></html></xsl:template></xsl:stylesheet>`;
const FILES: Record<string, string> = {
  "files/a.xml": XHTML,
  "files/b.xml": SVG,
  "files/c.xml": `<?xml version="1.0"?><?xml-stylesheet type="text/xsl" href="/files/style.xml"?><root/>`,
  "files/style.xml": XSLT,
  "files/a.svg": SVG,
  "files/a.html": HTML,
  "files/a.txt": HTML,
  "files/a.json": HTML,
  "files/a.xhtml": XHTML,
  "files/noname": HTML,
  "rpms/r/repodata/repomd.xml": XHTML,
};

t.test("every answer has a policy and may not be sniffed", async (t) => {
  const { url } = await startServer(t, [{ stream: "a", content: { ...FILES, "files/big.xml": "x".repeat(300_000) } }]);
  for (const path of ["/", "/files/", "/config/", "/s/a/"]) {
    const { headers } = await fetch(url + path);
    t.ok(headers.get("content-security-policy")?.startsWith(PAGE), path);
    t.match(headers.get("content-security-policy"), "frame-ancestors 'none'");
    t.equal(headers.get("x-content-type-options"), "nosniff");
  }
  for (const path of ["files/a.html", "files/a.svg", "files/a.xhtml", "files/noname"]) {
    t.equal((await fetch(`${url}/${path}`)).headers.get("content-type"), "application/octet-stream", path);
  }
  const paths = [...Object.keys(FILES).map((it) => `/${it}`), "/files/big.xml", "/files/a.xml.sha256", "/none", "/v2/"];
  for (const path of [...paths, "/v2/_catalog", "/config/airferry.repo", "/metrics", "/healthz", "/%zz"]) {
    for (const range of [undefined, "bytes=0-1", "bytes=0-0,2-2"]) {
      // Twice, since the second answer may come from memory by another way.
      for (const method of ["GET", "GET", "HEAD"]) {
        const answer = await fetch(url + path, { method, headers: range === undefined ? {} : { range } });
        await answer.arrayBuffer();
        t.equal(answer.headers.get("content-security-policy"), CONTENT, `${method} ${path} ${range} ${answer.status}`);
        t.equal(answer.headers.get("x-content-type-options"), "nosniff");
      }
    }
  }
});

t.test("Chromium runs no script of packed content", { timeout: 300_000 }, async (t) => {
  if (!needs(t, "chromium")) return;
  const { url } = await startServer(t, [{ stream: "a", content: FILES }]);
  const profile = t.testdir();
  const visit = (address: string, more: string[] = []) => {
    const args = ["--headless", "--no-sandbox", "--disable-gpu", `--user-data-dir=${join(profile, "p")}`];
    return run(clientPath("chromium")!, [...args, "--virtual-time-budget=2000", ...more, "--dump-dom", address], {
      env: clientEnv({ http_proxy: "", no_proxy: "*" }),
      timeout: 60_000,
    });
  };
  const { stdout: proof } = await visit(`data:text/html,${encodeURIComponent(HTML)}`);
  t.match(proof, RAN, "scripts do run in this browser");
  // What is neither XML nor text is only saved, which a browser without a window takes long over.
  for (const path of ["files/a.xml", "files/b.xml", "files/c.xml", "files/a.txt"]) {
    const { stdout } = await visit(`${url}/${path}`);
    const dom = stdout.replaceAll(`"${RAN}"`, "").replaceAll(`&quot;${RAN}&quot;`, "");
    t.notMatch(dom, `<title>${RAN}`, path);
    t.notMatch(stdout, `title="${RAN}"`, path);
  }
  for (const path of ["/", "/files/"]) {
    const { stdout, stderr } = await visit(url + path, ["--enable-logging=stderr", "--v=0"]);
    t.match(stdout, '<main id="main">');
    t.notMatch(stderr, /Content Security Policy|Refused/, `${path} has its style`);
  }
});
