/** Places of a tree as objects: what AWS needs besides, and names that only one can have. */
import { mkdirSync } from "node:fs";
import t from "tap";
import type { Composed } from "../../src/tree/compose.ts";
import { Listing } from "../../src/tree/listing.ts";
import { planObjects } from "../../src/tree/object-plan.ts";
import { ObjectPool } from "../../src/tree/object-pool.ts";
import { scratch } from "../fixtures/program.ts";

const composed: Composed = { registry: { hosts: new Map(), tags: new Map() }, policies: {}, mounts: [] };

t.test("of AWS, names with a plus are found by those who do not escape it", async (t) => {
  const dir = scratch(t);
  mkdirSync(dir, { recursive: true });
  const pool = new ObjectPool(dir);
  const listing = new Listing();
  const digest = await pool.addBytes(Buffer.from("x"));
  for (const it of ["files/lib++-1 (a).rpm", "files/plain"]) listing.add("tree/", it, { digest });
  const keys = async (isAws: boolean) => {
    const { objects } = await planObjects(listing, composed, pool, { prefix: "", isAws });
    return objects.map((it) => [it.key, it.headers.redirect]);
  };
  const both = [
    ["files/lib++-1 (a).rpm", undefined],
    ["files/plain", undefined],
  ];
  t.strictSame(await keys(false), both);
  t.strictSame(await keys(true), [["files/lib  -1 (a).rpm", "/files/lib%2B%2B-1%20(a).rpm"], ...both]);
});

t.test("no key is a folder of another", async (t) => {
  const pool = new ObjectPool(scratch(t));
  const listing = new Listing();
  const digest = await pool.addBytes(Buffer.from("x"));
  listing.add("tree/", "files/index.html/x", { digest });
  listing.add("tree/", "files/.airferry.html", { digest });
  listing.add("registry/@/", "q/quay.io/a/@m/b.om", { digest });
  listing.add("registry/@/", "q/quay.io/a/manifests/b/@m/c.om", { digest });
  const { objects } = await planObjects(listing, composed, pool, { prefix: "p", isAws: false });
  t.strictSame(objects.map((it) => it.key).sort(), ["files/index.html/x", "v2/quay.io/a/manifests/b"]);
  t.equal(listing.leftOut, 2);
  t.match(listing.notes.join("\n"), /files\/index\.html: a folder has this name/);
  t.match(
    listing.notes.join("\n"),
    /manifests\/b\/manifests\/c: another file has the name v2\/quay\.io\/a\/manifests\/b/,
  );
});
