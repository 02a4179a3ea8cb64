/** Large objects against a real gateway: parts, digests, uploads that an earlier run left. */
import { createHash } from "node:crypto";
import { CreateMultipartUploadCommand, S3Client } from "@aws-sdk/client-s3";
import t from "tap";
import { digestOf } from "../../src/io/digest.ts";
import { openBucket } from "../../src/s3/bucket.ts";
import { parseS3Target } from "../../src/s3/s3-target.ts";
import { PART_BYTES, PartBuffers, partBytesOf, upload } from "../../src/s3/s3-upload.ts";
import { needs } from "../fixtures/clients.ts";
import { scratch } from "../fixtures/program.ts";
import { startFaultyProxy } from "../fixtures/s3-faults.ts";
import { startGateway } from "../fixtures/s3-gateway.ts";

const hasGateway = needs(t, "versitygw");
const gateway = hasGateway ? await startGateway(scratch(t)) : undefined;
const proxy = gateway && (await startFaultyProxy(gateway.endpoint));
t.teardown(() => proxy?.close());
t.teardown(() => gateway?.stop());
Object.assign(process.env, gateway?.env);
const bucket =
  gateway && (await openBucket(parseS3Target(gateway.name("up", proxy?.endpoint), {}), { patienceMs: 3000 }));
t.teardown(() => bucket?.close());

/** Cheap bytes that differ at every place that counts. */
function content(size: number): Buffer {
  const bytes = Buffer.alloc(size, 7);
  for (let at = 0; at < size; at += 1_000_003) bytes.writeUInt32BE(at, Math.min(at, size - 4));
  return bytes;
}
function sourceOf(bytes: Buffer, sent: { bytes: number } = { bytes: 0 }) {
  return {
    size: bytes.length,
    digest: digestOf(bytes),
    fill: async (position: number, into: Buffer) => void bytes.copy(into, 0, position),
    progress: (count: number, isSent: boolean) => {
      if (isSent) sent.bytes += count;
    },
  };
}
async function digestAt(key: string, size: number): Promise<string> {
  const hash = createHash("sha256");
  if (bucket !== undefined) for await (const it of bucket.read(key, size)) hash.update(it);
  return `sha256:${hash.digest("hex")}`;
}

t.test(
  "objects of one part and of several are written, if they are what was signed",
  { skip: !hasGateway },
  async (t) => {
    if (bucket === undefined) return;
    const buffers = new PartBuffers();
    for (const size of [0, 1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES + 12_345]) {
      const bytes = content(size === 0 ? 0 : Math.max(size, 4)).subarray(0, size);
      const source = sourceOf(bytes);
      const key = `size-${size}`;
      t.strictSame(await upload(bucket, key, { ...source, digest: digestOf("other") }, buffers), {
        is: "differs",
        digest: source.digest,
      });
      t.equal(await bucket.head(key), undefined, "nothing wrong gets a name");
      t.strictSame(await upload(bucket, key, source, buffers), { is: "written" });
      t.equal(await digestAt(key, size), source.digest);
    }
    t.equal(partBytesOf(16 * 2 ** 40) % (1024 * 1024), 0);
    t.ok(partBytesOf(16 * 2 ** 40) * 10_000 >= 16 * 2 ** 40, "no more parts than S3 has");
  },
);

t.test("an upload that was left unfinished is continued", { skip: !hasGateway }, async (t) => {
  if (bucket === undefined || proxy === undefined) return;
  const buffers = new PartBuffers();
  const bytes = content(3 * PART_BYTES + 99);
  const isPart = (url = "", number: number) => url.includes(`partNumber=${number}&`);
  const stop = sourceOf(bytes);
  const torn = {
    ...stop,
    fill: (position: number, into: Buffer) =>
      position >= 2 * PART_BYTES ? Promise.reject(new Error("killed")) : stop.fill(position, into),
  };
  await t.rejects(upload(bucket, "torn", torn, buffers), /killed/);
  const sent = { bytes: 0 };
  proxy.fault = ({ url }, _) => (isPart(url, 3) && Math.random() < 0.5 ? { status: 503 } : undefined);
  t.strictSame(await upload(bucket, "torn", sourceOf(bytes, sent), buffers), { is: "written" });
  proxy.fault = () => undefined;
  t.equal(sent.bytes, PART_BYTES + 99, "two parts were there");
  t.equal(await digestAt("torn", bytes.length), digestOf(bytes));
  // Other content under the same key: no part of the earlier one is taken for it.
  await t.rejects(upload(bucket, "torn-2", torn, buffers), /killed/);
  const other = Buffer.from(bytes);
  other[5] = 99;
  const again = { bytes: 0 };
  t.strictSame(await upload(bucket, "torn-2", sourceOf(other, again), buffers), { is: "written" });
  t.equal(again.bytes, 2 * PART_BYTES + 99);
  t.equal(await digestAt("torn-2", other.length), digestOf(other));
});

t.test("an upload that another program left, without checksums, holds nobody up", { skip: !hasGateway }, async (t) => {
  if (bucket === undefined || gateway === undefined) return;
  const credentials = {
    accessKeyId: gateway.env["AWS_ACCESS_KEY_ID"] ?? "",
    secretAccessKey: gateway.env["AWS_SECRET_ACCESS_KEY"] ?? "",
  };
  const { endpoint } = gateway;
  const other = new S3Client({ endpoint, region: "us-east-1", forcePathStyle: true, credentials });
  t.teardown(() => other.destroy());
  await other.send(
    new CreateMultipartUploadCommand({
      Bucket: gateway.bucket,
      Key: bucket.fullKey("theirs"),
      ContentType: "text/html",
    }),
  );
  const bytes = content(PART_BYTES + 5);
  t.strictSame(await upload(bucket, "theirs", sourceOf(bytes), new PartBuffers()), { is: "written" });
  t.equal(await digestAt("theirs", bytes.length), digestOf(bytes));
});

t.test("the answer to the last request may get lost", { skip: !hasGateway }, async (t) => {
  if (bucket === undefined || proxy === undefined) return;
  const bytes = content(PART_BYTES + 5);
  let lost = 0;
  proxy.fault = ({ method, url = "" }) =>
    method === "POST" && url.includes("uploadId=") && lost++ === 0 ? { loseAnswer: true } : undefined;
  const end = await upload(bucket, "lost", sourceOf(bytes), new PartBuffers());
  proxy.fault = () => undefined;
  t.match(end.is, /^(written|there)$/);
  t.ok(lost > 1);
  t.equal(await digestAt("lost", bytes.length), digestOf(bytes));
});
