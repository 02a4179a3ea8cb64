/** What is believed of the list of damaged blobs in a bucket. */
import { join } from "node:path";
import t from "tap";
import { BucketHealth } from "../../src/cache/bucket-health.ts";
import { DamageList } from "../../src/cache/damage-list.ts";
import { digestOf } from "../../src/io/digest.ts";
import { openBucket } from "../../src/s3/bucket.ts";
import { openObjects } from "../../src/s3/direct-objects.ts";
import { parseS3Target } from "../../src/s3/s3-target.ts";
import { needs } from "../fixtures/clients.ts";
import { scratch } from "../fixtures/program.ts";
import { startFaultyProxy } from "../fixtures/s3-faults.ts";
import { startGateway } from "../fixtures/s3-gateway.ts";

const FILE = "damaged.json";
const BAD = digestOf("bad");
const GOOD = digestOf("good");
const skip = !needs(t, "versitygw");

t.test("a list is read on its condition, and one that is none names everything", { skip }, async (t) => {
  const gateway = await startGateway(join(scratch(t), "gateway"));
  t.teardown(() => gateway.stop());
  Object.assign(process.env, gateway.env);
  const proxy = await startFaultyProxy(gateway.endpoint);
  t.teardown(() => proxy.close());
  const target = parseS3Target(gateway.name("store", proxy.endpoint));
  const bucket = await openBucket(parseS3Target(gateway.name("store")));
  t.teardown(() => bucket.close());
  const objects = await openObjects(target);
  t.teardown(() => objects.close());
  const put = (text: string) => bucket.put(FILE, Buffer.from(text));
  const said: string[] = [];
  const health = new BucketHealth(objects.name);
  const list = new DamageList(objects, health, (line) => said.push(line), 0);
  const allowed = async () => {
    await list.follow();
    return [await list.allows(BAD), await list.allows(GOOD)];
  };

  await list.follow();
  t.same(proxy.seen, [], "nobody is to be sent anywhere: nothing is read");
  t.same(await Promise.all([list.allows(BAD), list.allows(GOOD)]), [true, true]);
  t.equal(proxy.seen.length, 1, "those who ask at once share one request");
  await put(`${JSON.stringify({ damaged: [BAD] })}\n`);
  t.same(await allowed(), [false, true]);
  let isConditional = false;
  proxy.fault = ({ headers }) => {
    isConditional = headers["if-none-match"] !== undefined;
    return undefined;
  };
  t.same(await allowed(), [false, true]);
  t.ok(isConditional);

  const hostile = {
    "not JSON": "{",
    "another file": '{"damaged":{}}',
    "more than that": JSON.stringify({ damaged: [GOOD], and: 1 }),
    "no digests": '{"damaged":["../../etc/passwd\\u001b[2J"]}',
    "too large": JSON.stringify({ damaged: [BAD], pad: "x".repeat(4 * 1024 * 1024) }),
  };
  for (const [what, text] of Object.entries(hostile)) {
    await put(text);
    t.same(await allowed(), [false, false], what);
    t.same(await allowed(), [false, false], `${what}, again`);
  }
  t.equal(said.length, 2, said.join("\n"));
  t.match(
    said[0],
    /^cannot read "damaged.json" of "s3:.*expected a list of digests; until .* no client is redirected$/,
  );
  t.match(said[1], /damaged\.json.*4(\.0)? MiB|damaged\.json.*4194304/);
  t.notMatch(said.join(), /passwd|[\u0000-\u001f]/);

  await put(`${JSON.stringify({ damaged: [BAD] })}\n`);
  t.same(await allowed(), [false, true]);
  proxy.fault = () => ({ status: 403 });
  t.same(await allowed(), [false, false], "whoever may not read it sends nobody");
  await list.follow();
  t.equal(said.length, 3, "and says so, when it happens again");
  proxy.fault = () => undefined;
  t.same(await allowed(), [false, true]);
  await bucket.remove([FILE]);
  t.same(await allowed(), [true, true], "taken back");
});
