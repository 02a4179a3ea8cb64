/** scripts/pulp: what a real Pulp makes of `airferry serve`, a line for each check, then how many passed. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runClient } from "../../test/fixtures/container-clients.ts";
import { carry, IMAGE } from "./carried.ts";
import { dnfInstall } from "./dnf-client.ts";
import { Pulp } from "./pulp.ts";

const [venv = "", ...flags] = process.argv.slice(2);
const counts = { passed: 0, failed: 0 };

async function check(name: string, work: () => Promise<void>): Promise<void> {
  const startedMs = performance.now();
  const fault = await work().then(
    () => undefined,
    (error: unknown) => String(error instanceof Error ? error.message : error),
  );
  counts[fault === undefined ? "passed" : "failed"]++;
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
  process.stdout.write(
    `${fault === undefined ? "ok  " : "FAIL"} ${name}, ${seconds} s${fault === undefined ? "" : `\n     ${fault}`}\n`,
  );
}

function must(isSo: boolean, otherwise: string): void {
  if (!isSo) throw new Error(otherwise);
}

async function bytesOf(url: string): Promise<Buffer> {
  const answer = await fetch(url);
  must(answer.ok, `${url}: ${answer.status}`);
  return Buffer.from(await answer.arrayBuffer());
}

async function rpms(pulp: Pulp, url: string, dir: string): Promise<void> {
  const upstream = `${url}/rpms/base`;
  const repository = await pulp.make("repositories/rpm/rpm/", { name: "base" });
  const remote = await pulp.make("remotes/rpm/rpm/", { name: "base", url: `${upstream}/`, policy: "immediate" });
  const mirror = `${pulp.content}/base`;
  await check("rpms: sync with mirror_complete", async () => {
    await pulp.task(`${repository}sync/`, { remote, sync_policy: "mirror_complete" });
    await pulp.make("distributions/rpm/rpm/", { name: "base", base_path: "base", repository });
  });
  await check("rpms: repomd.xml and its signature are upstream's", async () => {
    for (const it of ["repodata/repomd.xml", "repodata/repomd.xml.asc"])
      must((await bytesOf(`${mirror}/${it}`)).equals(await bytesOf(`${upstream}/${it}`)), `${it} differs`);
  });
  const rendered = (await bytesOf(`${url}/config/airferry.repo`)).toString();
  const [key = ""] = /^gpgkey=(.*)$/m.exec(rendered)?.slice(1) ?? [];
  const repo = (more: string) => `[base]\nname=base\nbaseurl=${mirror}/\ngpgkey=${key}\n${more}`;
  await check("rpms: dnf installs from Pulp with gpgcheck and repo_gpgcheck", async () => {
    const { status, out } = await dnfInstall(dir, "root", repo("gpgcheck=1\nrepo_gpgcheck=1\n"), "aft-lib");
    must(status === 0, out);
    must(/Complete!/.test(out) && /aft-lib/.test(out), out);
  });
  await check("rpms: as Satellite has it by default, on_demand: packages come through Pulp when dnf asks", async () => {
    const lazily = await pulp.make("remotes/rpm/rpm/", { name: "lazy", url: `${upstream}/`, policy: "on_demand" });
    const lazy = await pulp.make("repositories/rpm/rpm/", { name: "lazy" });
    await pulp.task(`${lazy}sync/`, { remote: lazily, sync_policy: "mirror_complete" });
    await pulp.make("distributions/rpm/rpm/", { name: "lazy", base_path: "lazy", repository: lazy });
    const text = repo("gpgcheck=1\nrepo_gpgcheck=1\n").replace(`${mirror}/`, `${pulp.content}/lazy/`);
    const { status, out } = await dnfInstall(dir, "lazy", text, "aft-lib");
    must(status === 0 && /Complete!/.test(out), out);
  });
  await check("rpms: metadata that Pulp makes itself has no signature, and dnf refuses it", async () => {
    const again = await pulp.make("repositories/rpm/rpm/", { name: "additive", autopublish: true });
    await pulp.task(`${again}sync/`, { remote, sync_policy: "additive" });
    await pulp.make("distributions/rpm/rpm/", { name: "additive", base_path: "additive", repository: again });
    const text = repo("gpgcheck=1\nrepo_gpgcheck=1\nskip_if_unavailable=0\n").replace(
      `${mirror}/`,
      `${pulp.content}/additive/`,
    );
    const { status, out } = await dnfInstall(dir, "additive", text, "aft-lib");
    must(status !== 0 && /repomd\.xml/.test(out), out);
  });
}

async function files(pulp: Pulp, url: string): Promise<void> {
  const repository = await pulp.make("repositories/file/file/", { name: "files", autopublish: true });
  await check("files: sync by PULP_MANIFEST", async () => {
    const remote = await pulp.make("remotes/file/file/", {
      name: "files",
      url: `${url}/files/PULP_MANIFEST`,
      policy: "immediate",
    });
    await pulp.task(`${repository}sync/`, { remote });
    await pulp.make("distributions/file/file/", { name: "files", base_path: "files", repository });
  });
  await check("files: each comes out of Pulp as it is here", async () => {
    const list = (await bytesOf(`${url}/files/PULP_MANIFEST`)).toString().trim().split("\n");
    must(list.length === 6, list.join("\n"));
    for (const line of list) {
      const path = encodeURI(line.slice(0, line.lastIndexOf(",", line.lastIndexOf(",") - 1)));
      must((await bytesOf(`${pulp.content}/files/${path}`)).equals(await bytesOf(`${url}/files/${path}`)), path);
    }
  });
}

async function images(pulp: Pulp, url: string, dir: string): Promise<void> {
  const sync = async (name: string, tag: string, policy: string): Promise<void> => {
    const repository = await pulp.make("repositories/container/container/", { name });
    const remote = await pulp.make("remotes/container/container/", {
      name,
      url,
      upstream_name: IMAGE,
      include_tags: [tag],
      policy,
      tls_validation: false,
    });
    await pulp.task(`${repository}sync/`, { remote });
    await pulp.make("distributions/container/container/", { name, base_path: name, repository });
  };
  const home = join(dir, "home");
  mkdirSync(home);
  const env = { HOME: home, XDG_RUNTIME_DIR: home };
  const copy = async (name: string, tag: string, ...more: string[]): Promise<void> => {
    const from = `docker://${pulp.registry}/${name}:${tag}`;
    const { status, out } = await runClient(
      "skopeo",
      ["copy", ...more, "--src-tls-verify=false", from, `dir:${join(dir, `${name}-${tag}`)}`],
      env,
    );
    must(status === 0, out);
  };
  await check("images: on_demand, upstream's index", async () => {
    await sync("demand", "1", "on_demand");
    await copy("demand", "1");
  });
  await check("images: immediate, upstream's index: Pulp stops at the platform that was left out", async () => {
    const fault = await sync("whole", "1", "immediate").then(
      () => "it synced",
      (error: Error) => error.message,
    );
    must(/^the task failed: /.test(fault), fault);
  });
  await check("images: immediate, the index of what is here", async () => {
    await sync("packed", "1-packed", "immediate");
    await copy("packed", "1-packed", "--all");
  });
}

const dir = mkdtempSync(join(tmpdir(), "af-pulp-"));
// PostgreSQL's account looks inside.
chmodSync(dir, 0o755);
const pulp = new Pulp(join(dir, "pulp"), venv);
let stop = async (): Promise<void> => {};
try {
  const carried = await carry(dir);
  stop = () => carried.stop();
  await check("Pulp starts", () => pulp.start());
  if (counts.failed === 0) {
    await rpms(pulp, carried.url, dir);
    await files(pulp, carried.url);
    await images(pulp, carried.url, dir);
  }
} finally {
  await pulp.stop();
  await stop();
  if (flags.includes("--keep")) process.stdout.write(`kept: ${dir}\n`);
  else rmSync(dir, { recursive: true, force: true });
}
process.stdout.write(`${counts.passed} passed, ${counts.failed} failed\n`);
process.exitCode = counts.failed === 0 ? 0 : 1;
