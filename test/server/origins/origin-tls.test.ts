/** src/server/origins/origin-tls.ts: one certificate for each host, however clients spell it; none for others. */
import t from "tap";
import { createConstrainedCa } from "../../../src/certs/constrained-ca.ts";
import type { TreeView } from "../../../src/server/http/context.ts";
import { OriginTls } from "../../../src/server/origins/origin-tls.ts";

t.test("spellings of one host share a certificate", async (t) => {
  const provenance = [
    { path: "files/a", kind: "file", source: "https://dl.example.com/a", established: "first-sight" },
  ];
  const catalog = { isos: [], rpms: [], files: [{ path: "files/a" }], images: [], keys: [], provenance };
  const view = { releases: [{ inventory: { catalog } }] };
  const ca = await createConstrainedCa("test", ["dl.example.com"]);
  const context = { view: async () => view as unknown as TreeView, freshView: () => undefined };
  const tls = new OriginTls(ca, context, (error) => t.fail(String(error)));
  const first = await tls.contextOf("dl.example.com");
  t.ok(first);
  for (const name of ["DL.Example.com", "dl.example.com.", "dl.example.com:1", "dl.example.com:65535"]) {
    t.equal(await tls.contextOf(name), first, name);
  }
  for (const name of ["example.com", "a.dl.example.com", "dl.example.com:x"]) {
    t.equal(await tls.contextOf(name), undefined, name);
  }
});
