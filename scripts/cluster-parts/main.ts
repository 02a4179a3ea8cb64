/** scripts/cluster: what the chart does in a real cluster, a line for each check, then how many passed. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { unpack } from "../../src/unpack.ts";
import { makeBundle, makeKey, noise } from "../../test/fixtures/bundle-maker.ts";
import { CHART } from "../../test/fixtures/chart-values.ts";
import { Cluster } from "./cluster.ts";
import { NODE_ADDRESS } from "./node.ts";

const [dir = "", image = "", cgroup = ""] = process.argv.slice(2);
const counts = { passed: 0, failed: 0 };
const KEYS = { AWS_ACCESS_KEY_ID: "clusterkey", AWS_SECRET_ACCESS_KEY: "cluster-secret-0123456789" };
const LARGE = noise(3_000_000, 1);

async function check(name: string, work: () => Promise<string | undefined>): Promise<void> {
  const startedMs = performance.now();
  const [fault, more] = await work().then(
    (it) => [undefined, it],
    (error: unknown) => [String(error instanceof Error ? error.message : error), undefined],
  );
  counts[fault === undefined ? "passed" : "failed"]++;
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
  console.log(`${fault === undefined ? "ok  " : "FAIL"} ${name}${more === undefined ? "" : `: ${more}`}, ${seconds} s`);
  if (fault !== undefined) console.log(`     ${fault}`);
}

function must(isSo: boolean, otherwise: string): void {
  if (!isSo) throw new Error(otherwise);
}

async function serves(address: string): Promise<void> {
  const health = await (await fetch(`http://${address}:9000/healthz`)).text();
  must(/^ok: 1 release/.test(health), health);
  const large = Buffer.from(await (await fetch(`http://${address}:9000/files/large`)).arrayBuffer());
  must(large.equals(LARGE), "/files/large differs");
}

/** A namespace that admits pods of the least rights only. */
function namespace(cluster: Cluster, name: string): Promise<void> {
  const labels = { "pod-security.kubernetes.io/enforce": "restricted" };
  return cluster.post("/api/v1/namespaces", { metadata: { name, labels } });
}

async function onVolume(cluster: Cluster, store: string): Promise<void> {
  const size = { storage: "1Gi" };
  const spec = { accessModes: ["ReadOnlyMany"], storageClassName: "" };
  const values = join(dir, "volume.json");
  writeFileSync(values, JSON.stringify({ image: { repository: "localhost/airferry" }, store: { claim: "store" } }));
  await check("a volume: pods start, and serve what is in it", async () => {
    await namespace(cluster, "volume");
    const volume = { metadata: { name: "store" }, spec: { ...spec, capacity: size, hostPath: { path: store } } };
    await cluster.post("/api/v1/persistentvolumes", volume);
    const claim = {
      metadata: { name: "store" },
      spec: { ...spec, volumeName: "store", resources: { requests: size } },
    };
    await cluster.post("/api/v1/namespaces/volume/persistentvolumeclaims", claim);
    await cluster.helm("install", "site", CHART, "-n", "volume", "-f", values);
    for (const it of await cluster.untilReady("volume", 2)) await serves(it);
    return undefined;
  });
  await check("a volume: pods are replaced under load, and no client fails", async () => {
    let asked = 0;
    let isOver = false;
    const faults: string[] = [];
    let known = await cluster.ready("volume");
    const before = (await cluster.pods("volume")).map((it) => it.metadata.name);
    const clients = Array.from({ length: 4 }, async () => {
      while (!isOver) {
        const address = known[asked++ % known.length];
        await serves(address ?? "").catch((error) => faults.push(`${address}: ${error.message} ${error.cause ?? ""}`));
        await sleep(20);
      }
    });
    // What sends clients on hears of changes a second later.
    const told = (async () => {
      for (; !isOver; await sleep(1000)) known = await cluster.ready("volume");
    })();
    await cluster.helm(
      "upgrade",
      "site",
      CHART,
      "-n",
      "volume",
      "-f",
      values,
      "--set-string",
      "podAnnotations.round=2",
    );
    await cluster.until(
      async () => {
        const now = await cluster.pods("volume");
        return now.length === 2 && now.every((it) => !before.includes(it.metadata.name));
      },
      () => "the pods were not replaced",
    );
    isOver = true;
    await Promise.all([...clients, told]);
    must(faults.length === 0, `${faults.length} of ${asked}: ${faults.slice(0, 3).join("; ")}`);
    must(asked > 50, `only ${asked} were asked`);
    return `${asked} downloads`;
  });
}

async function onBucket(cluster: Cluster, bundle: string, trust: string): Promise<void> {
  const values = join(dir, "bucket.json");
  const endpoint = `http://${NODE_ADDRESS}:7070`;
  const s3 = { bucket: "airferry", prefix: "site", endpoint, credentialsSecret: "keys", cache: { size: "64MiB" } };
  writeFileSync(values, JSON.stringify({ image: { repository: "localhost/airferry" }, store: { s3 } }));
  await check("a bucket: pods start with an empty cache of their own, and serve what is in it", async () => {
    for (const it of ["iam", "data/airferry"]) mkdirSync(join(dir, "gateway", it), { recursive: true });
    const env = { ROOT_ACCESS_KEY_ID: KEYS.AWS_ACCESS_KEY_ID, ROOT_SECRET_ACCESS_KEY: KEYS.AWS_SECRET_ACCESS_KEY };
    const places = ["--iam-dir", join(dir, "gateway/iam"), "posix", join(dir, "gateway/data")];
    const how = ["--port", `${NODE_ADDRESS}:7070`, "--region", "us-east-1", "--keep-alive", "--quiet"];
    cluster.programs.start("versitygw", [...how, ...places], env);
    Object.assign(process.env, KEYS, { AWS_EC2_METADATA_DISABLED: "true" });
    await unpack([bundle], { trust: [trust], store: `s3://airferry/site?endpoint=${endpoint}` });
    await namespace(cluster, "bucket");
    await cluster.post("/api/v1/namespaces/bucket/secrets", { metadata: { name: "keys" }, stringData: KEYS });
    await cluster.helm("install", "site", CHART, "-n", "bucket", "-f", values);
    for (const it of await cluster.untilReady("bucket", 2)) await serves(it);
    return undefined;
  });
}

async function main(): Promise<void> {
  const cluster = new Cluster(dir);
  const key = makeKey();
  const trust = join(dir, "key.pub");
  writeFileSync(trust, key.pem);
  const bundle = join(dir, "bundle");
  makeBundle(bundle, { files: { "files/large": LARGE }, keys: [key] });
  const store = join(dir, "store");
  await unpack([bundle], { trust: [trust], store });
  await check("a cluster of one node starts", async () => {
    await cluster.start([image], cgroup);
    return undefined;
  });
  if (counts.failed === 0) {
    await onVolume(cluster, store);
    await onBucket(cluster, bundle, trust);
  }
}

await main();
console.log(`${counts.passed} passed, ${counts.failed} failed`);
process.exit(counts.failed === 0 ? 0 : 1);
