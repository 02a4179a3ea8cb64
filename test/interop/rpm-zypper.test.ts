/** zypper installs from `airferry serve` into an empty root with repository signatures checked, and refuses a wrong key. */
import { execFile, execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import t from "tap";
import { clientEnv, clientPath, needs } from "../fixtures/clients.ts";
import { airferry } from "../fixtures/host.ts";
import { writeKeyPairs } from "../fixtures/keys.ts";
import { scratch, start, writeManifest } from "../fixtures/program.ts";
import { buildRpmTree, RPM_BUILDERS } from "../fixtures/rpm-tree.ts";

function zypper(dir: string, root: string, repos: string, ...args: string[]): Promise<{ status: number; out: string }> {
  mkdirSync(join(dir, root, "etc/zypp/repos.d"), { recursive: true });
  writeFileSync(join(dir, root, "etc/zypp/repos.d/a.repo"), repos);
  const common = ["--root", join(dir, root), "--non-interactive", "--gpg-auto-import-keys"];
  return new Promise((resolve) => {
    const env = clientEnv({ LC_ALL: "C.UTF-8" });
    execFile(clientPath("zypper") as string, [...common, ...args], { cwd: dir, env }, (error, stdout, stderr) => {
      resolve({ status: error ? Number(error.code ?? 1) : 0, out: stdout + stderr });
    });
  });
}

t.test("zypper refreshes and installs, names with + included", async (t) => {
  if (!needs(t, "zypper", "rpm", "openssl", ...RPM_BUILDERS)) return;
  const dir = scratch(t, "airferry-zypper");
  const tree = await buildRpmTree(join(dir, "tree"));
  writeFileSync(join(dir, "key.asc"), tree.key);
  const keys = ["key.asc"];
  // Not aft-app: zypper never reads filelists, and finds no provider of the path that it needs.
  const rpms = [
    { name: "base", path: "tree/base", keys },
    { name: "app", path: "tree/loose", keys },
  ];
  writeManifest(dir, { stream: "zypper", rpms });
  await writeKeyPairs(dir);
  const packed = await airferry(dir, ["pack", "m.yaml", "--key", "k.key"]);
  t.equal(packed.status, 0, packed.stderr);
  const bundle = packed.stdout.trim().split("\n").at(-1) as string;
  t.equal((await airferry(dir, ["unpack", bundle, "--trust", "k.pub", "--store", "store"])).status, 0);
  const listen = ["--listen", "127.0.0.1:0", "--listen-http", "127.0.0.1:0", "--tls", "auto", "--tls-dir", "tls"];
  const server = start(dir, ["serve", "--store", "store", ...listen]);
  t.teardown(async () => {
    server.kill("SIGTERM");
    await server.done;
  });
  const { https, http } = await new Promise<{ https: string; http: string }>((resolve, reject) => {
    let text = "";
    const look = (chunk: string) => {
      text += chunk;
      const https = /https:\/\/127\.0\.0\.1:\d+/.exec(text)?.[0];
      const http = /http:\/\/127\.0\.0\.1:\d+/.exec(text)?.[0];
      if (https && http) resolve({ https, http });
    };
    server.stdout?.on("data", look);
    server.stderr?.on("data", look);
    server.on("exit", () => reject(new Error(`serve ended: ${text}`)));
  });
  // zypper knows no sslcacert: it takes a folder of hashed certificates in the URL.
  mkdirSync(join(dir, "ca"));
  copyFileSync(join(dir, "tls/ca.crt"), join(dir, "ca/ca.crt"));
  execFileSync("openssl", ["rehash", join(dir, "ca")]);
  const repo = (name: string, key: string) =>
    `[${name}]\nname=${name}\nenabled=1\ntype=rpm-md\nbaseurl=${https}/rpms/${name}/?ssl_capath=${join(dir, "ca")}\ngpgcheck=1\nrepo_gpgcheck=1\npkg_gpgcheck=1\ngpgkey=${http}/keys/${key}\n`;
  const both = `${repo("base", "base")}${repo("app", "airferry")}       ${http}/keys/app\n`;
  const refreshed = await zypper(dir, "root", both, "refresh", "--force");
  t.equal(refreshed.status, 0, refreshed.out);
  const installed = await zypper(dir, "root", both, "install", "--no-recommends", "aft-loose", "aft++");
  t.equal(installed.status, 0, installed.out);
  const list = await zypper(dir, "root", both, "search", "--installed-only", "aft");
  for (const name of ["aft-loose", "aft-lib", "aft++"]) t.ok(list.out.includes(` ${name} `), `${name}: ${list.out}`);
  const wrong = await zypper(dir, "wrong", repo("app", "base"), "refresh", "--force");
  t.not(wrong.status, 0, `our metadata is not signed by upstream's key: ${wrong.out}`);
});

t.test("zypper refreshes from a mirror whose upstream is odd", async (t) => {
  if (!needs(t, "zypper", "rpm", "dnf", ...RPM_BUILDERS)) return;
  const dir = scratch(t, "airferry-zypper-odd");
  await buildRpmTree(join(dir, "tree"));
  const repodata = join(dir, "tree/base/repodata");
  // A second, different updateinfo; modules and a .treeinfo of which nothing can be read.
  const add = (type: string, name: string, text: string) => {
    writeFileSync(join(repodata, name), text);
    const sha256 = createHash("sha256").update(text).digest("hex");
    return `<data type="${type}"><checksum type="sha256">${sha256}</checksum><location href="repodata/${name}"/></data>`;
  };
  const records = [
    add("updateinfo", "a.xml", "<updates></updates>"),
    add("updateinfo", "b.xml", "<updates>\n</updates>"),
    add("modules", "m.yaml", "---\ndocument: modulemd\ndata: [oops\n...\n"),
  ];
  const repomd = join(repodata, "repomd.xml");
  rmSync(`${repomd}.asc`, { force: true });
  writeFileSync(repomd, readFileSync(repomd, "utf8").replace("</repomd>", `${records.join("")}</repomd>`));
  writeFileSync(join(dir, "tree/base/.treeinfo"), "garbage\n");
  writeManifest(dir, { stream: "odd", rpms: [{ name: "base", path: "tree/base", gpgcheck: false }] });
  await writeKeyPairs(dir);
  const packed = await airferry(dir, ["pack", "m.yaml", "--key", "k.key"]);
  t.equal(packed.status, 0, packed.stderr);
  t.match(packed.stderr, /lists "updateinfo" more than once/);
  t.match(packed.stderr, /carried without the installation tree/);
  const bundle = packed.stdout.trim().split("\n").at(-1) as string;
  t.equal((await airferry(dir, ["unpack", bundle, "--trust", "k.pub", "--store", "store"])).status, 0);
  const server = start(dir, ["serve", "--store", "store", "--listen", "127.0.0.1:0"]);
  t.teardown(async () => {
    server.kill("SIGTERM");
    await server.done;
  });
  const http = await new Promise<string>((resolve, reject) => {
    let text = "";
    const look = (chunk: string) => {
      text += chunk;
      const url = /http:\/\/127\.0\.0\.1:\d+/.exec(text)?.[0];
      if (url) resolve(url);
    };
    server.stdout?.on("data", look);
    server.stderr?.on("data", look);
    server.on("exit", () => reject(new Error(`serve ended: ${text}`)));
  });
  const repo = `[base]\nname=base\nenabled=1\nbaseurl=${http}/rpms/base/\ngpgcheck=0\nrepo_gpgcheck=0\n`;
  const refreshed = await zypper(dir, "root", repo, "refresh", "--force");
  t.equal(refreshed.status, 0, refreshed.out);
  const found = await zypper(dir, "root", repo, "--no-refresh", "search", "aft-words");
  t.match(found.out, " aft-words ");
  const dnf = ["--noplugins", "-q", "--releasever=8", `--setopt=reposdir=${join(dir, "root/etc/zypp/repos.d")}`];
  const query = await promisify(execFile)("dnf", [...dnf, `--setopt=cachedir=${join(dir, "cache")}`, "repoquery"]);
  t.match(query.stdout, "aft-words-0:3-1.noarch");
});
