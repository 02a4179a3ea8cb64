/** A CA that may sign for some hosts only: OpenSSL and Node's TLS refuse all others, also after a renewal. */
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { createServerCertificate, type KeyAndCertificate } from "../../src/certs/certificates.ts";
import { createConstrainedCa, isConstrainedTo } from "../../src/certs/constrained-ca.ts";

/** What `openssl verify` says of a certificate for a host. */
async function verified(dir: string, ca: KeyAndCertificate, signer: KeyAndCertificate, host: string): Promise<string> {
  const leaf = await createServerCertificate(signer, [host]);
  writeFileSync(join(dir, "ca.pem"), ca.cert);
  writeFileSync(join(dir, "leaf.pem"), leaf.cert);
  const { stdout, stderr } = spawnSync("openssl", ["verify", "-CAfile", "ca.pem", "leaf.pem"], {
    cwd: dir,
    encoding: "utf8",
  });
  return (
    /error \d+ at \d+ depth lookup: (.*)|: (OK)/
      .exec(stdout + stderr)
      ?.slice(1)
      .join("") ?? stdout + stderr
  );
}

t.test("names and addresses", async (t) => {
  const dir = t.testdir();
  const hosts = ["dl.example.com", "192.0.2.7", "2001:db8::7"];
  const ca = await createConstrainedCa("test", hosts);
  for (const host of hosts) t.equal(await verified(dir, ca, ca, host), "OK", host);
  for (const host of ["evil.example.org", "example.com", "xdl.example.com", "192.0.2.8", "2001:db8::8"]) {
    t.equal(await verified(dir, ca, ca, host), "permitted subtree violation", host);
  }
  t.ok(isConstrainedTo(ca.cert, hosts.toReversed()));
  t.notOk(isConstrainedTo(ca.cert, hosts.slice(1)));
});

t.test("a kind of name without hosts is excluded", async (t) => {
  const dir = t.testdir();
  const names = await createConstrainedCa("test", ["dl.example.com"]);
  t.equal(await verified(dir, names, names, "192.0.2.8"), "excluded subtree violation");
  t.equal(await verified(dir, names, names, "2001:db8::8"), "excluded subtree violation");
  const none = await createConstrainedCa("test", []);
  t.equal(await verified(dir, none, none, "dl.example.com"), "excluded subtree violation");
});

t.test("a renewed CA has the same key: who trusts the earlier one still has its hosts", async (t) => {
  const dir = t.testdir();
  const before = await createConstrainedCa("test", ["a.example"]);
  const many = Array.from({ length: 500 }, (_, at) => `host-${at}.example`);
  const after = await createConstrainedCa("another name", ["a.example", ...many], before);
  t.equal(after.key, before.key);
  t.equal(await verified(dir, before, after, "a.example"), "OK");
  t.equal(await verified(dir, before, after, "host-1.example"), "permitted subtree violation");
  t.equal(await verified(dir, after, before, "host-499.example"), "OK");
});
