/** Files that hold secrets of the server, logs that hold what clients sent, and how long a login takes. */
import { spawnSync } from "node:child_process";
import { chmod, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { hashSync } from "bcryptjs";
import t from "tap";
import { createCa, createServerCertificate } from "../../../src/certs/certificates.ts";
import { prepareTlsAuto, readTlsFiles } from "../../../src/server/process/tls-auto.ts";
import { Htpasswd } from "../../../src/server/registry/htpasswd.ts";
import { readPrivateKey, sealPrivateKey } from "../../../src/sign/private-key.ts";
import { airferry } from "../../fixtures/host.ts";

import { sendRaw, startServer } from "../../fixtures/serving.ts";

const REFUSED = { code: "ERR_KEY_EXPOSED", hint: /^chmod o= / };

t.test("keys that everybody can read or change are refused, with what mends it", async (t) => {
  const dir = t.testdir();
  const tls = join(dir, "tls");
  await prepareTlsAuto(tls, []);
  for (const name of ["ca.key", "server.key"]) {
    const file = join(tls, name);
    for (const mode of [0o644, 0o604, 0o602, 0o666]) {
      await chmod(file, mode);
      await t.rejects(prepareTlsAuto(tls, []), { ...REFUSED, path: file }, `${name} ${mode.toString(8)}`);
    }
    for (const mode of [0o640, 0o600, 0o400]) {
      await chmod(file, mode);
      await t.resolves(prepareTlsAuto(tls, []), `${name} ${mode.toString(8)}`);
    }
  }
  await chmod(tls, 0o777);
  await t.rejects(prepareTlsAuto(tls, []), { ...REFUSED, path: tls });
  // The hint as it is printed.
  const hint = await prepareTlsAuto(tls, []).catch((error) => error.hint as string);
  spawnSync("sh", ["-c", String(hint).split(",")[0]!]);
  await t.resolves(prepareTlsAuto(tls, []));
  t.equal((await stat(tls)).mode & 0o777, 0o770);

  const made = await createServerCertificate(await createCa("test"), ["localhost"]);
  const [cert, key] = [join(dir, "s.crt"), join(dir, "it's.key")];
  await writeFile(cert, made.cert);
  await writeFile(key, made.key, { mode: 0o644 });
  await chmod(key, 0o644);
  const fault = await readTlsFiles(cert, key).catch((error) => error);
  t.match(fault, { ...REFUSED, path: key });
  spawnSync("sh", ["-c", fault.hint.split(";")[0]]);
  await t.resolves(readTlsFiles(cert, key));
});

t.test("a signing key that everybody can read must be encrypted", async (t) => {
  const { generateKeyPairSync } = await import("node:crypto");
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const file = join(t.testdir(), "k.key");
  const read = () => readPrivateKey(file, async () => "pw");
  await writeFile(file, privateKey.export({ type: "pkcs8", format: "pem" }));
  await chmod(file, 0o644);
  await t.rejects(read(), REFUSED);
  await chmod(file, 0o640);
  await t.resolves(read());
  await writeFile(file, await sealPrivateKey(privateKey, "pw"));
  await chmod(file, 0o644);
  await t.resolves(read(), "its passphrase keeps it");
  await chmod(file, 0o646);
  await t.rejects(read(), REFUSED, "others could put another one there");
});

t.test("an htpasswd file may be read by others, not changed", async (t) => {
  const file = join(t.testdir(), "htpasswd");
  await writeFile(file, `u:${hashSync("pw", 4)}\n`);
  await chmod(file, 0o644);
  await t.resolves(Htpasswd.read(file));
  await chmod(file, 0o646);
  await t.rejects(Htpasswd.read(file), REFUSED);
  for (const cost of ["03", "18", "31"]) {
    t.throws(() => Htpasswd.parse(`u:${hashSync("pw", 4).replace("$04$", `$${cost}$`)}`, "f"), { code: "ERR_USAGE" });
  }
});

t.test("a login takes as long for nobody as for any user, whatever the costs in the file", async (t) => {
  const users = Htpasswd.parse(`cheap:${hashSync("pw", 4)}\ndear:${hashSync("pw", 9)}\n`, "f");
  let tries = 0;
  const time = async (user: string) => {
    const times: number[] = [];
    for (let i = 0; i < 5; i++) {
      // Looks are a while apart on purpose.
      await new Promise((resolve) => setTimeout(resolve, 150));
      const login = Buffer.from(`${user}:wrong${tries++}`).toString("base64");
      const before = performance.now();
      t.equal(await users.admits(`Basic ${login}`), false);
      times.push(performance.now() - before);
    }
    return times.sort((a, b) => a - b)[1]!;
  };
  const [cheap, dear, nobody] = [await time("cheap"), await time("dear"), await time("nobody")];
  for (const it of [cheap, nobody]) {
    t.ok(it > dear / 2.5 && it < dear * 2.5, `${[cheap, dear, nobody].map((ms) => ms.toFixed(1)).join(", ")} ms`);
  }
  await new Promise((resolve) => setTimeout(resolve, 150));
  t.equal(await users.admits(`Basic ${Buffer.from("cheap:pw").toString("base64")}`), true);
});

t.test("what clients send drives no terminal by way of the log, a message or a page", async (t) => {
  const log = join(t.testdir(), "access.log");
  const { port, messages } = await startServer(t, [{ stream: "a", content: { "files/a\u202ecod.exe": "x" } }], {
    accessLog: log,
  });
  const evil = "\u009b31m\u0085\u00ad";
  await sendRaw(
    port,
    Buffer.from(`GET /x%C2%9B31m%E2%80%AE HTTP/1.0\r\nUser-Agent: a${evil}\tb\r\nX: y\r\n\r\n`, "latin1"),
  );
  const missing = await sendRaw(port, "GET /x%C2%9B31m%E2%80%AE/%F0%9D%85%B3 HTTP/1.0\r\n\r\n");
  t.match(missing, "\\u009b31m\\u202e");
  const page = Buffer.from(await sendRaw(port, "GET /files/ HTTP/1.0\r\n\r\n"), "latin1").toString("utf8");
  t.match(page, "a\\u{202e}cod.exe");
  await new Promise((resolve) => setTimeout(resolve, 300));
  const text = await readFile(log, "utf8");
  const unsafe = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u00ad\u202a-\u202e]/;
  for (const it of [text, page.replace(/^[\s\S]*?\r\n\r\n/, ""), ...messages]) t.notMatch(it, unsafe);
  t.equal(JSON.parse(text.split("\n")[0]!).agent, `a${evil}\tb`, "the log still has what was sent");
});

t.test("nothing that is made may be changed by everybody, under any umask", async (t) => {
  const dir = t.testdir();
  const umask = process.umask(0);
  // keygen makes the folders on the way.
  const { status, stderr } = await airferry(dir, ["keygen", "--out", "deep/er/k"]).finally(() => process.umask(umask));
  t.equal(status, 0, stderr);
  const { stdout } = spawnSync("find", [join(dir, "deep"), "-perm", "-o+w"], { encoding: "utf8" });
  t.equal(stdout, "");
});
