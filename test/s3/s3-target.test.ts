import t from "tap";
import { AirferryError } from "../../src/errors.ts";
import { redactText } from "../../src/io/redact.ts";
import { isS3Name, parseS3Target } from "../../src/s3/s3-target.ts";

t.test("names of stores in object storage are read, and written the same", async (t) => {
  for (const [text, expected] of Object.entries({
    "s3://bucket/a/b.c?endpoint=https://s3.example.com:9000&region=eu-1&ca=/etc/ca.pem": {
      bucket: "bucket",
      prefix: "a/b.c",
      endpoint: "https://s3.example.com:9000",
      region: "eu-1",
      ca: "/etc/ca.pem",
    },
    "s3://bucket": { bucket: "bucket", prefix: "" },
    "s3://my.bucket-1/x?region=eu-central-1": { bucket: "my.bucket-1", prefix: "x", region: "eu-central-1" },
    "s3://bucket/x?endpoint=http://[::1]:9000": {
      bucket: "bucket",
      prefix: "x",
      endpoint: "http://[::1]:9000",
      region: "us-east-1",
    },
  })) {
    t.strictSame(parseS3Target(text, {}), { ...expected, name: text });
    t.equal(
      redactText(`cannot read "${text}"; try: airferry status --store '${text}'`),
      `cannot read "${text}"; try: airferry status --store '${text}'`,
    );
  }
  t.equal(parseS3Target("s3://bucket/x/", {}).name, "s3://bucket/x");
  t.match(parseS3Target("s3://bucket/x", { AWS_ENDPOINT_URL: "http://h:1", AWS_REGION: "r" }), {
    endpoint: "http://h:1",
    region: "r",
    name: "s3://bucket/x?endpoint=http://h:1",
  });
  t.strictSame(["s3://x", "S3:x", "/srv/s3", "./s3:x"].map(isS3Name), [true, true, false, false]);
});

t.test("everything else is refused, without the secrets in it", async (t) => {
  const bad = [
    "s3:bucket",
    "s3://",
    "s3://Bucket/x",
    "s3://ab/x",
    "s3://bucket//x",
    "s3://bucket/../x",
    "s3://bucket/a b",
    "s3://bucket/a%2fb",
    `s3://bucket/${"a".repeat(600)}`,
    "s3://key:hunter2@bucket/x",
    "s3://bucket/x#hunter2",
    "s3://bucket/x?endpoint=http://key:hunter2@h:1",
    "s3://bucket/x?endpoint=http://h:1/hunter2",
    "s3://bucket/x?endpoint=ftp://h",
    "s3://bucket/x?endpoint=",
    "s3://bucket/x?endpoint",
    "s3://bucket/x?secret=hunter2",
    "s3://bucket/x?region=a&region=b",
    "s3://bucket/x?region=A_B",
    "s3://bucket/x?region=%",
    "s3://bucket/x?ca=/etc/ca.pem",
    "s3://bucket/x?endpoint=http://h:1&ca=/etc/ca.pem",
    "s3://bucket/x?endpoint=https://h:1&ca=a%0ab",
    "S3://bucket/x",
  ];
  for (const text of bad) {
    try {
      parseS3Target(text, {});
      t.fail(`${text} was accepted`);
    } catch (error) {
      t.ok(error instanceof AirferryError, text);
      const { code, message, hint } = error as AirferryError;
      t.equal(code, "ERR_USAGE", text);
      t.notMatch(`${message} ${hint}`, /hunter2/, text);
    }
  }
});
