/** RPM repositories, published by PUT to a real server (nginx), and used from there by dnf with all signatures. */
import { spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { pushFiles } from "../../src/publish/push-files.ts";
import { planRepository } from "../../src/publish/repository-plan.ts";
import { SiteRepository } from "../../src/publish/site-repository.ts";
import { needs } from "../fixtures/clients.ts";
import { freePort } from "../fixtures/free-port.ts";
import { scratch } from "../fixtures/program.ts";
import { dnf } from "../fixtures/rpm-carry.ts";
import { buildRpmTree, RPM_BUILDERS } from "../fixtures/rpm-tree.ts";
import { createTestStore } from "../fixtures/store-reader.ts";

t.test("nginx takes it, dnf uses it", async (t) => {
  if (!needs(t, "nginx", "dnf", ...RPM_BUILDERS)) return;
  const dir = scratch(t, "af-put");
  const tree = await buildRpmTree(join(dir, "tree"));
  const rpms = [...tree.served("base")].map(([path, bytes]) => [`rpms${decodeURIComponent(path)}`, bytes as Buffer]);
  const store = createTestStore(join(dir, "store"));
  const catalog = { rpms: [{ name: "base", path: "rpms/base/", keys: ["base"] }] } as never;
  await store.put({ stream: "a", content: { ...Object.fromEntries(rpms), "keys/base": tree.key }, catalog });
  const port = await freePort();
  for (const it of ["www", "temp"]) mkdirSync(join(dir, it));
  const conf = join(dir, "nginx.conf");
  const root = process.getuid?.() === 0 ? "user root;" : "";
  writeFileSync(
    conf,
    `${root} daemon off; worker_processes 1; pid ${join(dir, "pid")}; error_log ${join(dir, "error")}; events {}\nhttp { access_log off; client_body_temp_path ${join(dir, "temp")}; server { listen 127.0.0.1:${port}; root ${join(dir, "www")}; dav_methods PUT; create_full_put_path on; } }\n`,
  );
  const nginx = spawn("nginx", ["-p", dir, "-c", conf], { stdio: "ignore" });
  const gone = new Promise((resolve) => nginx.on("exit", resolve));
  t.teardown(() => {
    nginx.kill();
    return gone;
  });
  const url = `http://127.0.0.1:${port}/site/`;
  const repository = new SiteRepository({ url: new URL(url), env: { HOME: dir } });
  t.teardown(() => repository.close());
  // Connections are tried again until nginx listens.
  const pushed = await pushFiles(repository, planRepository("rpms", await store.releases(), store, false), {
    isDry: false,
  });
  t.equal(pushed.length, rpms.length + 1);
  const repos = `[base]\nname=base\nbaseurl=${url}base/\ngpgcheck=1\nrepo_gpgcheck=1\ngpgkey=${url}keys/base\n`;
  const { status, out } = await dnf(dir, "root", repos, "install", "aft-lib");
  t.equal(status, 0, out);
});
