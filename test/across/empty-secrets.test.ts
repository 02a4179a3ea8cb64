/** Secrets that a CI system left unset: wherever a credential is read, an empty one is refused and never taken for "as nobody". */
import { writeFileSync } from "node:fs";
import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { hash } from "bcryptjs";
import t from "tap";
import { createFetcher } from "../../src/fetch/fetcher.ts";
import { BY_USER } from "../../src/http/named.ts";
import { parseNetrc } from "../../src/http/netrc.ts";
import { findLogin } from "../../src/oci/docker-login.ts";
import { Htpasswd } from "../../src/server/registry/htpasswd.ts";
import { airferry } from "../fixtures/host.ts";
import { scratch, writeManifest } from "../fixtures/program.ts";

const dir = scratch(t);
const asked: IncomingHttpHeaders[] = [];
const server = createServer((request, response) => {
  asked.push(request.headers);
  response.end("body");
});
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
t.teardown(() => server.close());
const port = (server.address() as AddressInfo).port;
const url = `http://127.0.0.1:${port}/x`;

t.test("netrc", async (t) => {
  const bad = [
    "machine 127.0.0.1 login ci password",
    "machine 127.0.0.1 login ci password \nmachine other login o password p",
    'machine 127.0.0.1 login ci password ""',
    'machine 127.0.0.1 login "" password s',
    "machine 127.0.0.1 login password s",
    "machine 127.0.0.1\n  login\n  password s",
    "default login ci password",
    "machine 127.0.0.1 password login ci",
  ];
  for (const text of bad) {
    const netrc = join(dir, "netrc");
    writeFileSync(netrc, text);
    asked.length = 0;
    const fetcher = createFetcher({ netrc, env: {} });
    await t.rejects(fetcher.fetchBytes({ urls: [url], named: BY_USER, maxBytes: 100 }), {
      code: "ERR_USAGE",
      message: /is empty/,
    });
    t.equal(asked.length, 0, `nothing is sent: ${JSON.stringify(text)}`);
  }
  t.match(parseNetrc("machine a login x password \nmachine b login o password p").get("b"), {
    login: "o",
    password: "p",
  });
  t.match(parseNetrc('machine a login "login" password "machine"').get("a"), { login: "login", password: "machine" });
  t.match(
    parseNetrc("machine a login token").get("a"),
    { login: "token", password: "" },
    "a login alone may be a token",
  );
  t.notOk(parseNetrc("machine a login token").get("a")?.lacks);
});

t.test("docker's and podman's logins", async (t) => {
  const base64 = (text: string) => Buffer.from(text).toString("base64");
  const bad = [
    { auth: "" },
    { auth: base64(":") },
    { auth: base64("ci:") },
    { auth: base64(":secret") },
    { auth: base64("ci") },
    { username: "ci", password: "" },
    { username: "", password: "secret" },
    { username: "ci" },
    { identitytoken: "" },
    { registrytoken: "" },
    { auth: base64("ci:"), identitytoken: "" },
  ];
  const file = join(dir, "config.json");
  const env = { REGISTRY_AUTH_FILE: file };
  for (const entry of bad) {
    writeFileSync(file, JSON.stringify({ auths: { "reg.example": entry } }));
    const error = await findLogin("reg.example", "a/b", env).catch((it: unknown) => it as Error);
    t.match(error, { code: "ERR_USAGE", message: /has an empty (?:user|password)/ }, JSON.stringify(entry));
    t.notMatch(String(error), "secret");
    t.equal(await findLogin("other.example", "a/b", env), undefined, "others go as they did");
  }
  for (const entry of [{}, null, { email: "" }]) {
    writeFileSync(file, JSON.stringify({ auths: { "reg.example": entry } }));
    t.equal(await findLogin("reg.example", "a/b", env), undefined, "after a logout, or with a helper");
  }
});

t.test("a credential helper without the secret", async (t) => {
  writeFileSync(join(dir, "docker-credential-none"), `#!/bin/sh\necho '{"Username":"ci","Secret":""}'\n`, {
    mode: 0o755,
  });
  const file = join(dir, "helper.json");
  writeFileSync(file, JSON.stringify({ credHelpers: { "reg.example": "none" } }));
  const env = { REGISTRY_AUTH_FILE: file, PATH: `${dir}:${process.env["PATH"]}` };
  await t.rejects(findLogin("reg.example", "a", env), { code: "ERR_USAGE", message: /empty password/ });
});

t.test("htpasswd: no line without a digest, and no login without a password", async (t) => {
  for (const text of ["ci:", "ci", ":$2b$04$abc", "ci: "])
    t.throws(() => Htpasswd.parse(text, "file"), { code: "ERR_USAGE" }, text);
  const users = Htpasswd.parse(`ci:${await hash("", 4)}\nok:${await hash("good", 4)}`, "file");
  const header = (login: string) => `Basic ${Buffer.from(login).toString("base64")}`;
  for (const login of ["ci:", "ci", ":", "ok:", "ok"]) t.equal(await users.admits(header(login)), false, login);
  t.equal(await users.admits(header("ok:good")), true);
});

t.test("variables of hosts:, proxies", async (t) => {
  for (const value of ["", " ", "\n", "secret\n", "a\rb", "a\0b"]) {
    for (const host of [{ token_env: "T" }, { username_env: "U", password_env: "T" }]) {
      const fetcher = createFetcher({
        netrc: false,
        env: { T: value, U: "ci" },
        hosts: { [`127.0.0.1:${port}`]: host },
      });
      asked.length = 0;
      const error = await fetcher
        .fetchBytes({ urls: [url], named: BY_USER, maxBytes: 100 })
        .catch((it: unknown) => it as Error);
      t.match(error, { code: "ERR_USAGE", message: /variable T (?:is not set|has a control)/ }, JSON.stringify(value));
      t.notMatch(String(error), "secret");
      t.equal(asked.length, 0);
    }
  }
  for (const proxy of [
    "http://ci:@127.0.0.1:1",
    "http://:secret@127.0.0.1:1",
    "http://@127.0.0.1:1",
    "ci:@127.0.0.1:1",
  ]) {
    const fetcher = createFetcher({ netrc: false, env: { http_proxy: proxy } });
    const error = await fetcher
      .fetchBytes({ urls: [url], named: BY_USER, maxBytes: 100 })
      .catch((it: unknown) => it as Error);
    t.match(error, { code: "ERR_USAGE", message: /user or password is empty/ }, proxy);
    t.notMatch(String(error), "secret");
  }
});

t.test("the command line", async (t) => {
  const file = writeManifest(dir, { files: [{ path: "a" }] });
  writeFileSync(join(dir, "a"), "a");
  const cases: [string[], NodeJS.ProcessEnv, RegExp][] = [
    [["status"], { AIRFERRY_STORE: "" }, /variable AIRFERRY_STORE is empty/],
    [["status", "--store", ""], {}, /--store <dir> is empty/],
    [["pack", file, "--out", "o"], { AIRFERRY_KEY: "" }, /variable AIRFERRY_KEY is empty/],
    [["pack", file, "--key", ""], {}, /--key <file> is empty/],
    [["verify", "b", "--trust", ""], {}, /--trust <file...> is empty/],
    [["verify", "", "--trust", "k"], {}, /an argument is empty/],
    [["pack", file, "--unsigned", "--rewrite", "a.example=http://ci:@b.example"], {}, /empty user or password/],
    [["keygen", "--out", "k"], { AIRFERRY_PASSWORD: "" }, /empty/],
    [["verify", "b"], { AIRFERRY_TRUST: "" }, /trust/],
  ];
  for (const [args, env, message] of cases) {
    const ran = await airferry(dir, args, env);
    t.ok(ran.status === 1 || ran.status === 2, `${args.join(" ")}: ${ran.status}`);
    t.match(ran.stderr, message, args.join(" "));
  }
});
