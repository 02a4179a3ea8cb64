/** A bucket that means harm, or is out of order: nothing that it answers is without an end, or fills the memory. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import t from "tap";
import { openBucket } from "../../src/s3/bucket.ts";
import { openObjects } from "../../src/s3/direct-objects.ts";
import { parseS3Target } from "../../src/s3/s3-target.ts";
import { refused } from "../fixtures/refused.ts";

Object.assign(process.env, { AWS_ACCESS_KEY_ID: "testkey", AWS_SECRET_ACCESS_KEY: "test-secret" });

let answer: (req: IncomingMessage, res: ServerResponse) => void = (_, res) => res.end();
const server = createServer((req, res) => answer(req, res));
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
t.teardown(() => {
  server.closeAllConnections();
  server.close();
});
const { port } = server.address() as AddressInfo;
const target = parseS3Target(`s3://bucket/store?endpoint=http://127.0.0.1:${port}`, {});

/** A page of a listing that says that there is more. */
function page(keys: readonly string[], folders: readonly string[], token: string): string {
  const contents = keys.map((it) => `<Contents><Key>${it}</Key><Size>1</Size><ETag>"e"</ETag></Contents>`).join("");
  const prefixes = folders.map((it) => `<CommonPrefixes><Prefix>${it}</Prefix></CommonPrefixes>`).join("");
  const more = `<IsTruncated>true</IsTruncated><NextContinuationToken>${token}</NextContinuationToken>`;
  return `<?xml version="1.0"?><ListBucketResult>${more}${contents}${prefixes}</ListBucketResult>`;
}

function answerPages(pageOf: (n: number) => string): { asked: () => number } {
  let n = 0;
  answer = (_, res) => {
    res.writeHead(200, { "Content-Type": "application/xml" }).end(pageOf(++n));
  };
  return { asked: () => n };
}

t.test("behind the range that was asked for nothing is read", async (t) => {
  const objects = await openObjects(target);
  t.teardown(() => objects.close());
  const closed = Promise.withResolvers<void>();
  answer = (_, res) => {
    res.writeHead(206, { "Content-Range": "bytes 0-9/100" });
    res.on("close", closed.resolve);
    const more = () => {
      while (!res.destroyed && res.write(Buffer.alloc(65536)));
    };
    res.on("drain", more);
    more();
  };
  let got = 0;
  const error = await refused(
    objects.stream("x", { start: 0, end: 10, maxBytes: 2 ** 40 }, (bytes) => {
      got += bytes.length;
      return undefined;
    }),
  );
  t.match(error, { code: "ERR_SIZE_LIMIT" });
  t.ok(got <= 10, `${got} bytes`);
  await closed.promise;
});

t.test("a list without an end ends", async (t) => {
  const objects = await openObjects(target);
  const bucket = await openBucket(target);
  t.teardown(() => objects.close());
  t.teardown(() => bucket.close());
  const folders = answerPages((n) => page([], [`store/releases/s${n}/`], `t${n}`));
  t.equal((await objects.list("releases/", 5)).length, 5);
  t.equal(folders.asked(), 5, "no more pages than needed");

  const all = async () => {
    for await (const _ of bucket.list(""));
  };
  const again = answerPages((n) => page([`store/x${n}`], [], "same"));
  t.match(await refused(all()), { code: "ERR_OBJECT_STORAGE", message: /its list has no end/ });
  t.equal(again.asked(), 2);
  const strange = answerPages((n) => page([`elsewhere/x${n}`], [], `t${n}`));
  t.match(await refused(all()), { code: "ERR_OBJECT_STORAGE", message: /its list has no end/ });
  t.ok(strange.asked() < 200);
});

t.test("an answer without an end does not fill the memory", async (t) => {
  const bucket = await openBucket(target);
  t.teardown(() => bucket.close());
  let sent = 0;
  for (const status of [200, 403]) {
    answer = (_, res) => {
      sent = 0;
      res.writeHead(status, { "Content-Type": "application/xml" });
      const text = Buffer.alloc(1024 * 1024, " ");
      const more = () => {
        do sent += text.length;
        while (!res.destroyed && res.write(text));
      };
      res.on("drain", more);
      more();
    };
    t.match(await refused(bucket.folder("releases/")), {
      code: "ERR_OBJECT_STORAGE",
      message: status === 200 ? /its answer is longer/ : /refused it/,
    });
    t.ok(sent < 64 * 1024 * 1024, `${sent} bytes`);
  }
});

t.test("without an ETag nothing is written on condition", async (t) => {
  const bucket = await openBucket(target);
  t.teardown(() => bucket.close());
  const methods: string[] = [];
  answer = ({ method = "" }, res) => {
    methods.push(method);
    res.writeHead(200, { "Content-Length": method === "GET" ? 1 : 0 }).end(method === "GET" ? "1" : "");
  };
  const found = await bucket.get("current", 10);
  const error = await refused(bucket.putIf("current", Buffer.from("2"), { etag: found?.etag ?? "none" }));
  t.match(error, { code: "ERR_OBJECT_STORAGE", message: /ETag/ });
  t.same(methods, ["GET"]);
});
