/** The client against a real gateway, also through a proxy that makes faults. */
import { hash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { runUnder } from "../../src/io/limit.ts";
import { type Bucket, type BucketLimits, openBucket } from "../../src/s3/bucket.ts";
import { parseS3Target } from "../../src/s3/s3-target.ts";
import { needs } from "../fixtures/clients.ts";
import { makePki } from "../fixtures/pki.ts";
import { scratch, seededBytes } from "../fixtures/program.ts";
import { refused } from "../fixtures/refused.ts";
import { startFaultyProxy } from "../fixtures/s3-faults.ts";
import { startGateway } from "../fixtures/s3-gateway.ts";

const hasGateway = needs(t, "versitygw");
const gateway = hasGateway ? await startGateway(scratch(t)) : undefined;
const proxy = gateway && (await startFaultyProxy(gateway.endpoint));
t.teardown(() => proxy?.close());
t.teardown(() => gateway?.stop());
Object.assign(process.env, gateway?.env);

const opened: Bucket[] = [];
t.teardown(() => {
  for (const it of opened) it.close();
});
async function bucketAt(name: string, limits: Partial<BucketLimits> = {}): Promise<Bucket> {
  const bucket = await openBucket(parseS3Target(name, {}), { patienceMs: 500, ...limits });
  opened.push(bucket);
  return bucket;
}

t.test("objects are written, read, listed and deleted", { skip: !hasGateway }, async (t) => {
  if (gateway === undefined) return;
  const bucket = await bucketAt(gateway.name("plain"));
  t.equal(await bucket.get("absent", 10), undefined);
  t.equal(await bucket.head("absent"), undefined);
  const bytes = seededBytes(1, 3_000_000);
  const etag = await bucket.put("blobs/sha256/ab/x", bytes);
  const whole = await bucket.get("blobs/sha256/ab/x", bytes.length);
  t.ok(whole?.bytes.equals(bytes));
  t.equal(whole?.etag, etag);
  t.ok((await bucket.range("blobs/sha256/ab/x", 1_000_000, 17)).equals(bytes.subarray(1_000_000, 1_000_017)));
  t.equal((await bucket.range("blobs/sha256/ab/x", 5, 0)).length, 0);
  t.match(await bucket.head("blobs/sha256/ab/x"), { size: bytes.length, sha256: hash("sha256", bytes, "base64") });
  const read: Buffer[] = [];
  for await (const it of bucket.read("blobs/sha256/ab/x", bytes.length, etag)) read.push(it);
  t.ok(Buffer.concat(read).equals(bytes));
  await bucket.put("empty", Buffer.alloc(0));
  t.equal((await bucket.get("empty", 0))?.bytes.length, 0);
  const listed: string[] = [];
  for await (const it of bucket.list("")) listed.push(`${it.key} ${it.size}`);
  t.strictSame(listed, ["blobs/sha256/ab/x 3000000", "empty 0"]);
  t.match(await bucket.folder(""), { folders: ["blobs"], objects: [{ key: "empty" }] });
  await bucket.remove(["empty", "nothing"]);
  t.equal(await bucket.head("empty"), undefined);
  const tooLarge = await refused(bucket.get("blobs/sha256/ab/x", 100));
  t.match(tooLarge, { code: "ERR_SIZE_LIMIT", actual: "3000000 bytes" });
  t.match(await refused(bucket.range("nothing", 0, 5)), { code: "ERR_NOT_FOUND" });
  const url = await bucket.presign("blobs/sha256/ab/x", 60, { contentType: "application/x-rpm" });
  const answer = await fetch(url, { headers: { range: "bytes=0-9" } });
  t.strictSame([answer.status, answer.headers.get("content-type")], [206, "application/x-rpm"]);
  t.ok(Buffer.from(await answer.arrayBuffer()).equals(bytes.subarray(0, 10)));
});

t.test("of writers at once, exactly one wins", { skip: !hasGateway }, async (t) => {
  if (gateway === undefined) return;
  const bucket = await bucketAt(gateway.name("races"));
  const race = async (was: { etag: string } | "absent") => {
    const all = await Promise.all(
      Array.from({ length: 12 }, (_, it) => bucket.putIf("current", Buffer.from(`${it}`), was)),
    );
    const winners = all.flatMap((etag, it) => (etag === undefined ? [] : [`${it}`]));
    t.equal(winners.length, 1);
    const now = await bucket.get("current", 10);
    t.equal(now?.bytes.toString(), winners[0]);
    return now?.etag ?? "";
  };
  const etag = await race("absent");
  await race({ etag });
  t.equal(await bucket.putIf("current", Buffer.from("late"), { etag }), undefined);
  t.equal(await bucket.putIf("new", Buffer.from("x"), { etag }), undefined, "nothing is there to be changed");
});

t.test("faults that pass are waited for, and an answer that got lost counts", { skip: !hasGateway }, async (t) => {
  if (gateway === undefined || proxy === undefined) return;
  const bucket = await bucketAt(gateway.name("faults", proxy.endpoint), { patienceMs: 10_000 });
  const bytes = seededBytes(2, 100_000);
  proxy.fault = (_, n) => [{ status: 503 }, { reset: true }, undefined][n - 1];
  proxy.seen.length = 0;
  await bucket.put("x", bytes);
  t.equal(proxy.seen.length, 3);
  proxy.seen.length = 0;
  proxy.fault = (_, n) => (n < 3 ? { cutAfter: 40_000 } : undefined);
  t.ok((await bucket.get("x", bytes.length))?.bytes.equals(bytes));
  t.equal(proxy.seen.length, 3, "a body that was cut is asked for again");
  proxy.seen.length = 0;
  proxy.fault = (_, n) => (n === 1 ? { loseAnswer: true } : undefined);
  const etag = await bucket.putIf("current", Buffer.from("1"), "absent");
  t.ok(etag, "what was written is known to be one's own");
  t.equal(proxy.seen.length, 3);
  proxy.fault = () => undefined;
  t.equal(await bucket.putIf("current", Buffer.from("2"), "absent"), undefined);
});

t.test("faults that stay are told, in time", { skip: !hasGateway }, async (t) => {
  if (gateway === undefined || proxy === undefined) return;
  const bucket = await bucketAt(gateway.name("faults", proxy.endpoint), { smallMs: 300, patienceMs: 600 });
  const startOfAll = performance.now();
  proxy.fault = () => ({ status: 503 });
  t.match(await refused(bucket.head("x")), {
    code: "ERR_OBJECT_STORAGE",
    message: /it answered 503 SlowDown|it answered 503/,
  });
  proxy.fault = () => ({ delayMs: 60_000 });
  t.match(await refused(bucket.head("x")), { code: "ERR_OBJECT_STORAGE", message: /no answer within 0.3 s/ });
  proxy.fault = () => ({ status: 507 });
  t.match(await refused(bucket.put("x", Buffer.from("x"))), { code: "ERR_SPACE" });
  const stop = new AbortController();
  proxy.fault = () => ({ delayMs: 60_000 });
  const work = runUnder(stop.signal, () => bucket.put("y", Buffer.from("y")));
  stop.abort();
  await t.rejects(work, { name: "AbortError" });
  proxy.fault = () => undefined;
  const nobody = await bucketAt("s3://airferry/x?endpoint=http://127.0.0.1:1");
  t.match(await refused(nobody.head("x")), { code: "ERR_OBJECT_STORAGE", message: /ECONNREFUSED/ });
  t.ok(performance.now() - startOfAll < 15_000);
});

t.test("who is not let in, and what does not exist, is named without secrets", { skip: !hasGateway }, async (t) => {
  if (gateway === undefined) return;
  const secret = process.env.AWS_SECRET_ACCESS_KEY ?? "";
  const told = async (name: string) => {
    const error = await refused((await bucketAt(name)).get("x", 10));
    t.notOk(`${error.message} ${error.hint} ${error.cause}`.includes("another-secret"));
    return error;
  };
  t.match(await told(gateway.name("x").replace("s3://airferry", "s3://nobucket")), {
    code: "ERR_NOT_FOUND",
    message: /no bucket "nobucket"/,
  });
  process.env.AWS_SECRET_ACCESS_KEY = "another-secret";
  t.match(await told(gateway.name("x")), {
    code: "ERR_OBJECT_STORAGE",
    message: /refused it: SignatureDoesNotMatch/,
    hint: /AWS_SECRET_ACCESS_KEY/,
  });
  process.env.AWS_SECRET_ACCESS_KEY = secret;
  const { AWS_ACCESS_KEY_ID: id } = process.env;
  delete process.env.AWS_ACCESS_KEY_ID;
  t.match(await told(gateway.name("x")), { code: "ERR_OBJECT_STORAGE", message: /no credentials/ });
  process.env.AWS_ACCESS_KEY_ID = id;
  const { AWS_REGION: region, AWS_DEFAULT_REGION: other } = process.env;
  delete process.env.AWS_REGION;
  delete process.env.AWS_DEFAULT_REGION;
  const nowhere = await told("s3://airferry/x");
  t.match(nowhere, {
    code: "ERR_USAGE",
    message: /neither a region nor an endpoint/,
    hint: /'s3:.*\?region=us-east-1'/,
  });
  Object.assign(process.env, { ...(region && { AWS_REGION: region }), ...(other && { AWS_DEFAULT_REGION: other }) });
  process.env.AWS_ACCESS_KEY_ID = id;
});

t.test("https for a port without TLS is named", { skip: !hasGateway }, async (t) => {
  if (gateway === undefined) return;
  const endpoint = gateway.endpoint.replace("http:", "https:");
  t.match(await refused((await bucketAt(gateway.name("x", endpoint))).head("x")), {
    code: "ERR_OBJECT_STORAGE",
    message: /does not speak TLS at this port$/,
    hint: new RegExp(`'s3://airferry/x\\?endpoint=${gateway.endpoint}'$`),
  });
});

t.test("a private CA is trusted if the name of the store gives it", { skip: !hasGateway }, async (t) => {
  const dir = scratch(t);
  const pki = await makePki();
  writeFileSync(join(dir, "ca.pem"), pki.ca);
  writeFileSync(join(dir, "none.pem"), "hello");
  const secure = await startGateway(dir, { tls: pki.server });
  t.teardown(() => secure.stop());
  t.match(await refused((await bucketAt(secure.name("x"))).head("x")), {
    code: "ERR_OBJECT_STORAGE",
    message: /certificate of https:.* is not trusted/,
    hint: /ca=FILE/,
  });
  const bucket = await bucketAt(`${secure.name("x")}&ca=${join(dir, "ca.pem")}`);
  await bucket.put("x", Buffer.from("x"));
  t.equal((await bucket.get("x", 1))?.bytes.toString(), "x");
  t.match(await refused(bucketAt(`${secure.name("x")}&ca=${join(dir, "none.pem")}`)), {
    code: "ERR_USAGE",
    message: /expected a PEM certificate/,
  });
  t.match(await refused(bucketAt(`${secure.name("x")}&ca=${join(dir, "gone.pem")}`)), {
    code: "ERR_USAGE",
    message: /no such file/,
  });
});
