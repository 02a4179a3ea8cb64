/**
 * What curl, dnf and podman ask for in vain, from the server's list across the gap to the lines of the manifest that would bring it. No
 * secret of a client is in any of it.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { absent, needs } from "../fixtures/clients.ts";
import { runClient } from "../fixtures/container-clients.ts";
import { airferry } from "../fixtures/host.ts";
import { startDockerRegistry, staticBusybox, TestImages } from "../fixtures/images.ts";
import { scratch, start, writeManifest } from "../fixtures/program.ts";
import { dnf, rpmBench, run } from "../fixtures/rpm-carry.ts";
import { startUpstream } from "../fixtures/upstream.ts";

t.test("from what is missing to the lines that bring it", { timeout: 180_000 }, async (t) => {
  if (!needs(t, "podman", "skopeo", "docker-registry")) return;
  const busybox = staticBusybox();
  if (busybox === undefined) return absent(t, "busybox-static");
  const bench = await rpmBench(t);
  if (bench === undefined) return;
  const dir = scratch(t, "airferry-wanted");
  const { tree, work } = bench;
  const upstream = await startUpstream({
    files: new Map([...tree.served("base"), ...tree.served("app"), ["/key", tree.key]]),
  });
  t.teardown(() => upstream.close());
  const registry = await startDockerRegistry(join(dir, "upstream"));
  t.teardown(() => registry.stop());
  const images = new TestImages();
  await images.push(registry.host, "lab/bb", { "1.0": images.image("linux/amd64", [{ "bin/busybox": busybox }]) });
  writeFileSync(join(dir, "tool.txt"), "a tool\n");
  const keys = [`http://dl.example/key`];
  writeManifest(dir, {
    files: [{ path: "tool.txt" }],
    rpms: [
      { name: "base", url: `http://dl.example/base/`, keys },
      { name: "app", url: `http://dl.example/app/`, keys, packages: ["aft-app"] },
    ],
    images: [{ ref: "registry.example.com/lab/bb:1.0", insecure: true }],
  });
  const rewrite = [
    "--rewrite",
    `registry.example.com=${registry.host}`,
    "--rewrite",
    `http://dl.example=${upstream.url}`,
  ];
  const packed = await airferry(dir, ["pack", "m.yaml", "--key", join(work, "k.key"), ...rewrite]);
  t.equal(packed.status, 0, packed.stderr);
  const bundle = packed.stdout.trim().split("\n").at(-1)!;
  const server = start(dir, [
    ...["serve", bundle, "--trust", join(work, "k.pub"), "--listen", "127.0.0.1:0", "--workers", "2"],
    ...["--wanted", "wanted.list", "--access-log", "access", "--json", "--proxy", "127.0.0.1:0", "--tls-dir", "tls"],
  ]);
  const { urls: addresses, origins } = await new Promise<{ urls: string[]; origins: { proxyUrl: string } }>(
    (resolve, reject) => {
      let text = "";
      server.stdout?.on("data", (more: string) => {
        text += more;
        if (text.endsWith("\n}\n")) resolve(JSON.parse(text));
      });
      server.done.then((ran) => reject(new Error(`serve ended: ${ran.stderr}`)));
    },
  );
  const url = addresses[0]!;
  const host = new URL(url).host;
  const get = (...args: string[]) => run("curl", ["-sS", "-o", "/dev/null", ...args], dir);

  await get(
    "-u",
    "alice:hunter2",
    "-H",
    "Authorization: Bearer s3cr3t",
    "-H",
    "Cookie: id=c00kie",
    `${url}/files/absent.tgz?token=t0ken&X-Amz-Signature=s1gned`,
  );
  await get("-I", `${url}/files/absent.tgz#fr4gment`);
  await get(`${url}/files/tool.txt`);
  await get(`${url}/favicon.ico`);
  await get(`${url}/rpms/app/Packages/a/aft-web-2.0-1.module_2.noarch.rpm`);
  await get(`${url}/v2/lab/other/manifests/3?ns=registry.example.com&token=t0ken`);
  // Under the names of upstream, by a proxy that forwards nothing: what is here, what is not, and a host that nobody knows.
  const proxied = (of: string) =>
    run("curl", ["-sS", "-o", "/dev/null", "-w", "%{http_code}", "-x", origins.proxyUrl, of], dir);
  t.match(await proxied(`http://dl.example/base/repodata/repomd.xml`), { out: "200" });
  t.match(await proxied(`http://dl.example/base/none.rpm?token=t0ken`), { out: "404" });
  t.match(await proxied("http://unknown.example/x.tgz"), { out: "421" });
  const pulled = await runClient("podman", [
    "--root",
    join(dir, "p"),
    "--runroot",
    join(dir, "r"),
    "--storage-driver",
    "vfs",
    "pull",
    "--tls-verify=false",
    `${host}/lab/bb:2.0`,
  ]);
  t.not(pulled.status, 0);
  const failed = await dnf(
    dir,
    "root",
    `[missing]\nname=missing\nbaseurl=${url}/rpms/missing/\ngpgcheck=0\n`,
    "makecache",
  );
  t.not(failed.status, 0);

  // Handed over by each thread every two seconds.
  const metric = async () =>
    /^airferry_wanted_urls (\d+)$/m.exec((await run("curl", ["-sS", `${url}/metrics`], dir)).out)?.[1];
  for (let i = 0; i < 100 && Number(await metric()) < 6; i++) await new Promise((resolve) => setTimeout(resolve, 100));
  t.ok(Number(await metric()) >= 6, "counted for both threads");
  server.kill("SIGTERM");
  const ran = await server.done;
  t.equal(ran.status, 0, ran.stderr);

  const shown = await airferry(dir, ["wanted", "wanted.list", "--json"]);
  const { wanted } = JSON.parse(shown.stdout) as { wanted: { url: string; method: string; count: number }[] };
  const has = (method: string, path: string) => wanted.some((it) => it.method === method && it.url === `${url}${path}`);
  t.ok(has("GET", "/files/absent.tgz") && has("HEAD", "/files/absent.tgz"), shown.stdout);
  t.ok(has("GET", "/rpms/missing/repodata/repomd.xml"), "dnf");
  t.ok(
    wanted.some((it) => it.url === `${url}/v2/lab/bb/manifests/2.0`),
    "podman",
  );
  t.ok(has("GET", "/v2/lab/other/manifests/3?ns=registry.example.com"), "the registry that a mirror stands for");
  t.notOk(
    wanted.some((it) => /favicon|tool\.txt|repomd\.xml\.key/.test(it.url)),
    "nothing that is here",
  );
  const table = await airferry(dir, ["wanted", "wanted.list", "--out", "wanted.json"]);
  t.match(table.stdout, /^COUNT +LAST +METHOD +URL\n/);
  for (const file of ["wanted.list", "wanted.json"]) {
    const text = readFileSync(join(dir, file), "utf8");
    for (const secret of ["hunter2", "s3cr3t", "c00kie", "t0ken", "s1gned", "alice", "fr4gment", "curl"]) {
      t.notMatch(text, secret, `${file}: ${secret}`);
    }
  }
  t.notMatch(readFileSync(join(dir, "wanted.json"), "utf8"), "2026-", "no times leave");

  const planned = await airferry(dir, ["plan", "m.yaml", "--wanted", "wanted.json", "--json", ...rewrite]);
  t.equal(planned.status, 0, planned.stderr);
  const lines = (
    JSON.parse(planned.stdout) as {
      wanted: { url: string; verdict: string; line?: string; entry?: string; why: string }[];
    }
  ).wanted;
  const of = (path: string) => lines.find((it) => it.url === `${url}${path}`);
  t.match(of("/rpms/app/Packages/a/aft-web-2.0-1.module_2.noarch.rpm"), {
    verdict: "add",
    entry: 'rpms[1] "app"',
    line: 'packages: ["aft-web"]',
  });
  t.match(of("/rpms/app/Packages/a/aft-web-2.0-1.module_2.noarch.rpm")?.why, "upstream's metadata has it");
  t.match(of("/v2/lab/bb/manifests/2.0"), {
    verdict: "add",
    line: 'images: [{ref: "registry.example.com/lab/bb:2.0"}]',
  });
  t.match(of("/v2/lab/other/manifests/3?ns=registry.example.com"), {
    verdict: "add",
    line: 'images: [{ref: "registry.example.com/lab/other:3"}]',
  });
  t.match(of("/files/absent.tgz"), {
    verdict: "unknown",
    why: "the manifest has no files entry that becomes this path",
  });
  t.match(of("/rpms/missing/repodata/repomd.xml"), { verdict: "unknown" });

  // Under upstream's own names, and what is carried already.
  const urls = [
    `http://dl.example/app/Packages/aft-web-3-1.noarch.rpm`,
    `${url}/rpms/app/aft-none-1-1.noarch.rpm`,
    `http://dl.example/else`,
    `${url}/files/tool.txt`,
  ];
  const list = { wantedVersion: 1, dropped: 0, wanted: urls.map((it) => ({ url: it, count: 1 })) };
  writeFileSync(join(dir, "more.json"), JSON.stringify(list));
  const more = await airferry(dir, ["plan", "m.yaml", "--wanted", "more.json", ...rewrite]);
  t.match(
    more.stdout,
    /^to add:\n {2}\S+aft-web-3-1.noarch.rpm \(1 request\)\n {4}rpms\[1\] "app": .*\n {4}packages: \["aft-web"\]\n/,
  );
  t.match(
    more.stdout,
    /in the manifest:\n {2}\S+\/files\/tool.txt \(1 request\)\n {4}files\[0\] "tool.txt": the manifest has it/,
  );
  t.match(
    more.stdout,
    /\n {2}\S+\/else \(1 request\)\n {4}no entry has it; rpm "app" is of the same host\n {4}files: \[\{url: "\S+\/else"\}\]\n/,
  );
});
