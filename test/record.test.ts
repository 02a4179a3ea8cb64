/** `airferry record` as a program: the command that it runs, what it writes, and how it ends. */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import t, { type Test } from "tap";
import { readRecording } from "../src/io/web-recording.ts";
import { needs } from "./fixtures/clients.ts";
import { airferry } from "./fixtures/host.ts";
import { CHECKOUT, scratch, start } from "./fixtures/program.ts";

const BIG = Buffer.alloc(12 * 1024 * 1024, "0123456789abcdef");
/** A key store that is there already: making one takes a second. */
const ENV = { JAVA_TOOL_OPTIONS: "-Djavax.net.ssl.trustStore=own" };
const CURL = "curl -sS --noproxy '' --max-time 20";

/** An upstream without TLS, on loopback: clients have to be told that it is upstream. */
async function upstream(t: Test, asked: string[] = []): Promise<string> {
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    if (request.url === "/big") response.end(BIG);
    else if (request.url === "/slow") response.writeHead(200).write("begun");
    else response.setHeader("content-length", `this is ${request.url}`.length).end(`this is ${request.url}`);
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

t.test("a command finds the proxy and its CA, and gives its status", async (t) => {
  if (!needs(t, "curl")) return;
  const dir = scratch(t);
  const asked: string[] = [];
  const url = await upstream(t, asked);
  const names = ["https_proxy", "SSL_CERT_FILE", "PIP_CERT", "npm_config_cafile", "CARGO_HOME", "GOMODCACHE"];
  const script = [
    `${CURL} -o got ${url}/a`,
    `cp "$SSL_CERT_FILE" bundle`,
    `d=$(dirname "$SSL_CERT_FILE"); stat -c %a "$d" "$SSL_CERT_FILE" "$APT_CONFIG" "$d/caches" > modes`,
    `for n in ${names.join(" ")}; do eval "echo $n=\\$$n"; done > env`,
    "echo said; exit 3",
  ].join("; ");
  const ran = await airferry(dir, ["record", "--json", "--out", "b.yaml", "--", "sh", "-c", script], ENV);
  t.equal(ran.status, 3, ran.stderr);
  const result = JSON.parse(ran.stdout);
  t.match(result, { manifest: "b.yaml", recording: "b.recording", answers: 1, status: 3, lost: { count: 0 } });
  t.match(result.hosts, [{ host: url.slice(7), answers: 1, bytes: 10, missed: {} }]);
  t.match(ran.stderr, /recorded 1 answer, 10 B, of 1 host/);
  t.equal(readFileSync(join(dir, "got"), "utf8"), "this is /a");
  const env = Object.fromEntries(
    readFileSync(join(dir, "env"), "utf8")
      .trim()
      .split("\n")
      .map((it) => it.split("=")),
  );
  t.match(env.https_proxy, /^http:\/\/127\.0\.0\.1:\d+$/);
  t.equal(env.PIP_CERT, env.SSL_CERT_FILE);
  // apt fetches as another user.
  t.equal(readFileSync(join(dir, "modes"), "utf8"), "755\n644\n644\n700\n");
  t.notOk(existsSync(env.SSL_CERT_FILE), "nothing of it is left");
  t.notOk(existsSync(env.CARGO_HOME));
  t.match(
    readFileSync(join(dir, "bundle"), "utf8"),
    /(?:-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----\s*)+/,
  );
  t.match(
    readFileSync(join(dir, "b.yaml"), "utf8"),
    /stream: b\nweb:\n {2}- name: b\n {4}recording: \.\/b\.recording\n/,
  );
  const recorded = await readRecording(join(dir, "b.recording"));
  t.match(recorded.answers, [{ url: `${url}/a`, status: 200, size: 10 }]);

  await t.test("a second run adds, and leaves what was written by hand", async (t) => {
    const text = `${readFileSync(join(dir, "b.yaml"), "utf8")}    hosts: [example.com] # only this\n`;
    writeFileSync(join(dir, "b.yaml"), text);
    const again = await airferry(
      dir,
      ["record", "--out", "b.yaml", "--keep-caches", "--", "sh", "-c", `${CURL} ${url}/c`],
      ENV,
    );
    t.equal(again.status, 0, again.stderr);
    t.match(again.stderr, /b\.recording has 2 answers/);
    t.match(readFileSync(join(dir, "b.yaml"), "utf8"), /hosts: \[ ?example\.com ?\] # only this/);
    t.equal(readFileSync(join(dir, "b.yaml"), "utf8").match(/recording:/g)?.length, 1);
  });

  await t.test("what it recorded is packed without a network", async (t) => {
    writeFileSync(join(dir, "b.yaml"), readFileSync(join(dir, "b.yaml"), "utf8").replace(/^ +hosts:.*\n/m, ""));
    const packed = await airferry(dir, ["pack", "b.yaml", "--unsigned", "--json"], {
      http_proxy: "http://127.0.0.1:1",
    });
    t.equal(packed.status, 0, packed.stderr);
    const { bundle } = JSON.parse(packed.stdout);
    t.ok(existsSync(join(dir, bundle)), bundle);
  });

  await t.test("another entry with the same bytes does not fetch them", async (t) => {
    const text = readFileSync(join(dir, "b.yaml"), "utf8");
    const sha256 = createHash("sha256").update("this is /a").digest("hex");
    writeFileSync(join(dir, "b.yaml"), `${text}files:\n  - url: ${url}/a\n    sha256: ${sha256}\n`);
    asked.length = 0;
    const packed = await airferry(dir, ["pack", "b.yaml", "--unsigned", "--out", "other"]);
    t.equal(packed.status, 0, packed.stderr);
    t.strictSame(asked, ["HEAD /a"]);
  });
});

t.test("without a command it stays until it is stopped", async (t) => {
  if (!needs(t, "curl")) return;
  const dir = scratch(t);
  const url = await upstream(t);
  const child = start(dir, ["record", "--listen", "127.0.0.1:0", "--out", "vm.yaml"]);
  t.teardown(() => child.kill("SIGKILL"));
  let text = "";
  child.stderr?.on("data", (it) => {
    text += it;
  });
  while (!/docker: HTTPS_PROXY=/.test(text)) await once(child.stderr!, "data");
  const proxy = /recording by (http:\S+);/.exec(text)?.[1];
  t.match(await (await fetch(`${proxy}/ca.crt`)).text(), /BEGIN CERTIFICATE/);
  const got = start(dir, [], {}, ["sh", "-c", `${CURL} -x ${proxy} ${url}/x`]);
  t.equal((await got.done).stdout, "this is /x");
  child.kill("SIGTERM");
  const { status, stderr } = await child.done;
  t.equal(status, 0, stderr);
  t.match(stderr, /recorded 1 answer/);
  t.ok(existsSync(join(dir, "vm.yaml")));
});

t.test("a killed recording has what had ended", async (t) => {
  if (!needs(t, "curl")) return;
  const dir = scratch(t);
  const url = await upstream(t);
  const script = `${CURL} ${url}/a ${url}/big -o a -o b; { ${CURL} -N ${url}/slow & } | head -c 5; kill -KILL $PPID`;
  const killed = await start(dir, ["record", "--out", "b.yaml", "--keep-caches", "--", "sh", "-c", script], {
    ...ENV,
    TMPDIR: dir,
  }).done;
  t.equal(killed.signal, "SIGKILL");
  const { answers, unused } = await readRecording(join(dir, "b.recording"));
  t.strictSame([answers.map((it) => it.url), unused.size], [[`${url}/a`, `${url}/big`], 0]);
  const again = await airferry(dir, ["record", "--out", "b.yaml", "--", "sh", "-c", `${CURL} ${url}/z`], ENV);
  t.match(again.stderr, /b\.recording has 3 answers/, "another run goes on");
});

t.test("a full disk: the client is served, the loss is told", async (t) => {
  if (!needs(t, "curl", "unshare")) return;
  const dir = scratch(t);
  const url = await upstream(t);
  const script = `${CURL} ${url}/big | sha256sum; ${CURL} -r 0-9 ${url}/big; sleep 0.5; ${CURL} -o /dev/null ${url}/small`;
  const mount = 'mount -t tmpfs -o size=4m tmpfs "$1" && cd "$1" && shift && exec "$@"';
  const before = ["unshare", "-m", "sh", "-c", mount, "sh", dir, ...CHECKOUT] as const;
  const ran = await start(dir, ["record", "--out", "b.yaml", "--", "sh", "-c", script], { ...ENV, TMPDIR: "/tmp" }, [
    ...before,
  ]).done;
  if (/mount: |unshare: /.test(ran.stderr)) return void t.pass("no namespaces", { skip: "needs root" });
  t.equal(ran.status, 1, ran.stderr);
  t.match(ran.stdout, createHash("sha256").update(BIG).digest("hex"));
  t.match(ran.stdout, /^0123456789$/m);
  t.match(ran.stderr, /no space left/);
  t.match(ran.stderr, /lost 2 answers, which could not be written:\n.*\/big\n/);
  t.match(ran.stderr, /b\.recording has 1 answer/);
});

t.test("what cannot be recorded is refused at once", async (t) => {
  const dir = scratch(t);
  const refused = async (...args: string[]) => {
    const { status, stderr } = await airferry(dir, ["record", ...args], ENV);
    return `${status}: ${stderr}`;
  };
  t.match(await refused("--out", "x", "--", "true"), /^2: .*expected a name such as build\.yaml/);
  t.match(await refused("--out", "b.yaml", "--", "no-such-program", "-x"), /^2: .*cannot run "no-such-program"/s);
  t.match(await refused("--out", "b.yaml", "--", "./no/such", "-x"), /^2: .*cannot run "\.\/no\/such"/s);
  t.match(await refused("--out", "b.yaml", "--", "./"), /^2: .*cannot run "\.\/": a folder/s);
  t.match(await refused("--out", "b.yaml", "--", "."), /^2: .*cannot run "\.": no such program in PATH/s);
  const none = /^2: airferry: error: cannot record: no command\n.*hint: airferry record --out b\.yaml -- COMMAND, or /;
  t.match(await refused("--out", "b.yaml", "--", ""), none);
  t.match(await refused("--out", "b.yaml", "--", "", "-x"), none);
  const { status, stderr } = await start(dir, ["record", "--out", "b.yaml", "--listen", "127.0.0.1:0", "--"]).done;
  t.match(`${status}: ${stderr}`, none, "nor does it stay, listening");
  t.strictSame(readdirSync(dir), [], "nothing is written before");
  t.match(await refused("--out", "b.yaml", "--", "sh", "-c", "exit 127"), /^127: .*status 127; nothing was recorded/s);
  t.match(await refused("--ca", "none.pem", "--", "true"), /^2: .*cannot read CA "none\.pem": no such file/);
  t.match(await refused("--listen", "nowhere", "--", "true"), /^2: .*cannot listen on "nowhere"/);
  writeFileSync(join(dir, "bad.yaml"), "a: [1");
  t.match(await refused("--out", "bad.yaml", "--", "true"), /^2: .*cannot add to manifest "bad\.yaml"/);
});
