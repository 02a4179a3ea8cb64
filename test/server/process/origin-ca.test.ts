/** src/server/process/origin-ca.ts: one CA for all who ask, also when its hosts change while several do. */
import { X509Certificate } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { originContext, prepareOriginCa } from "../../../src/server/process/origin-ca.ts";
import { temporaryDir } from "../../fixtures/serving.ts";

t.test("threads that renew it at once get the same certificate, with the same key", async (t) => {
  const dir = join(await temporaryDir(t), "tls");
  const first = await prepareOriginCa(dir, ["a.example"]);
  t.equal(first.isNew, true);
  t.equal((await prepareOriginCa(dir, ["a.example"])).isNew, false);
  const reports: string[] = [];
  const settings = { ca: first, dir, https: [] };
  const threads = [1, 2].map(() => originContext(settings, [], (it) => reports.push(it)));
  const hosts = ["a.example", "b.example"];
  const got = await Promise.all(threads.flatMap((it) => [1, 2, 3].map(() => it.caCertificate(hosts))));
  t.equal(new Set(got).size, 1);
  t.equal(got[0], readFileSync(join(dir, "origins-ca.crt"), "utf8"));
  t.equal(reports.length, 1);
  const made = new X509Certificate(got[0] ?? "");
  t.match(reports[0], made.fingerprint256);
  t.ok(made.publicKey.equals(new X509Certificate(first.cert).publicKey));
  t.same(readdirSync(dir).sort(), ["origins-ca.crt", "origins-ca.key"]);
});
