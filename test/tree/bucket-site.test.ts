/** What goes with a tree in a bucket: configuration that nginx takes for any endpoint, and rules that S3 takes. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { parseS3Target } from "../../src/s3/s3-target.ts";
import { bucketSite, checkSiteTarget } from "../../src/tree/bucket-site.ts";
import { needs } from "../fixtures/clients.ts";
import { runClient } from "../fixtures/container-clients.ts";
import { scratch } from "../fixtures/program.ts";

const elsewhere = new Map([["rpmrepo/", "rpms/"]]);
const hosts = new Map([["index.docker.io", "docker.io"]]);
const filesOf = (name: string, base?: string) =>
  new Map(bucketSite({ target: parseS3Target(name, {}, "tree"), base, elsewhere, hosts }).files);

t.test("nginx takes it for any endpoint and address", async (t) => {
  if (!needs(t, "nginx")) return;
  const dir = scratch(t);
  const made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x"];
  const [key, cert] = [join(dir, "server.key"), join(dir, "a server.crt")];
  const { status, out } = await runClient("openssl", [...made, "-keyout", key, "-out", cert]);
  t.equal(status, 0, out);
  for (const [name, base] of [
    ["s3://bucket?endpoint=http://127.0.0.1:9000", undefined],
    ["s3://bucket/a/b?endpoint=http://[::1]:9000&region=x", "http://[::1]:58080"],
    [`s3://bucket/p?endpoint=https://localhost&ca=${encodeURIComponent(cert)}`, "https://mirror.example.com:58443"],
  ] as const) {
    const text = filesOf(name, base).get("nginx.conf") ?? "";
    // Ports that anybody may open, and the certificate that a site puts there.
    const ported = text.replace(/(listen (?:\[::\]:)?)80\b/g, "$158081");
    const own = ported.replace(/"[^"]*airferry\/server\.crt"/, `"${cert}"`);
    writeFileSync(join(dir, "site.conf"), own.replace(/"[^"]*airferry\/server\.key"/, `"${key}"`));
    const main = `pid ${dir}/pid; error_log stderr; events {}\nhttp { access_log off; include ${dir}/site.conf; }\n`;
    writeFileSync(join(dir, "nginx.conf"), main);
    const checked = await runClient("nginx", ["-t", "-p", dir, "-c", join(dir, "nginx.conf")]);
    t.equal(checked.status, 0, `${name}: ${checked.out}`);
  }
  const aws = filesOf("s3://bucket/p?region=eu-west-1").get("nginx.conf");
  t.match(aws, /server "bucket\.s3\.eu-west-1\.amazonaws\.com:443"/);
});

t.test("policy and website are of the whole bucket, or of none", async (t) => {
  const json = (text: string | undefined) => JSON.parse(text ?? "");
  const whole = filesOf("s3://bucket?endpoint=http://h");
  t.strictSame(json(whole.get("website.json")).RoutingRules, [
    {
      Condition: { HttpErrorCodeReturnedEquals: "404", KeyPrefixEquals: "rpmrepo/" },
      Redirect: { HttpRedirectCode: "302", ReplaceKeyPrefixWith: "rpms/" },
    },
    {
      Condition: { KeyPrefixEquals: "ns/index.docker.io/v2/" },
      Redirect: { HttpRedirectCode: "302", ReplaceKeyPrefixWith: "v2/docker.io/" },
    },
  ]);
  t.equal(json(whole.get("policy.json")).Statement.length, 2);
  const below = filesOf("s3://bucket/a/b?endpoint=http://h");
  t.notOk(below.has("website.json"));
  t.match(json(below.get("policy.json")).Statement, [{ Resource: ["arn:aws:s3:::bucket/a/b/*"] }]);
  const many = new Map(Array.from({ length: 60 }, (_, at) => [`s/${at}/files/`, "files/"]));
  const target = parseS3Target("s3://bucket", {}, "tree");
  t.equal(bucketSite({ target, base: undefined, elsewhere: many, hosts }).rulesLeftOut, 11);
  const odd = parseS3Target("s3://bucket?endpoint=https://h&ca=/a%22b", {}, "tree");
  const secure = filesOf("s3://bucket?endpoint=https://h&ca=here/ca.pem");
  t.match(secure.get("nginx.conf"), /proxy_ssl_trusted_certificate "\/.+\/here\/ca\.pem";/);
  t.match(secure.get("README.txt"), /aws --endpoint-url https:\/\/h --ca-bundle \/\S+\/here\/ca\.pem s3 cp /);
  t.throws(() => checkSiteTarget(odd), { code: "ERR_USAGE" });
});
