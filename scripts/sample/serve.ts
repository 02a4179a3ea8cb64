/**
 * Serves scripts/sample/upstream on loopback, as an internet of its own: files with ranges, and a registry's pull side.
 * Prints its base URL on stdout and one line per request on stderr; ends with SIGTERM.
 */
import { createHash } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { dirname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "upstream");

const server = createServer((request, response) => {
  const path = normalize(decodeURIComponent(new URL(request.url ?? "/", "http://sample").pathname));
  process.stderr.write(`${request.method} ${path} ${request.headers.range ?? ""}\n`);
  const file = join(root, path);
  if (path === "/v2/" || path === "/v2") {
    response.writeHead(200, { "content-type": "application/json", "content-length": 2 }).end("{}");
    return;
  }
  if (!file.startsWith(`${root}/`) || !statSync(file, { throwIfNoEntry: false })?.isFile()) {
    response.writeHead(404, { "content-type": "text/plain", "content-length": 10 }).end("not found\n");
    return;
  }
  const bytes = readFileSync(file);
  const digest = createHash("sha256").update(bytes).digest("hex");
  const headers: Record<string, string> = {
    "accept-ranges": "bytes",
    etag: `"${digest}"`,
    "content-type": "application/octet-stream",
  };
  if (path.startsWith("/v2/")) headers["docker-content-digest"] = `sha256:${digest}`;
  if (path.includes("/manifests/")) headers["content-type"] = JSON.parse(bytes.toString()).mediaType;
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
  const from = range ? Number(range[1]) : 0;
  const to = range?.[2] ? Math.min(Number(range[2]), bytes.length - 1) : bytes.length - 1;
  if (range && from >= bytes.length) {
    response.writeHead(416, { "content-range": `bytes */${bytes.length}`, "content-length": 0 }).end();
    return;
  }
  headers["content-length"] = String(to - from + 1);
  if (range) headers["content-range"] = `bytes ${from}-${to}/${bytes.length}`;
  response
    .writeHead(range ? 206 : 200, headers)
    .end(request.method === "HEAD" ? undefined : bytes.subarray(from, to + 1));
});

server.listen(0, "127.0.0.1", () => {
  const address = server.address();
  if (address !== null && typeof address === "object") process.stdout.write(`http://127.0.0.1:${address.port}\n`);
});
process.on("SIGTERM", () => server.close(() => process.exit(0)).closeAllConnections());
