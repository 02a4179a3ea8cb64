/** The verb trust: from the first version to a revocation, as its users run it. */
import { cpSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { advance, verifyFirst } from "../src/sign/trust-chain.ts";
import { readTrustFolder } from "../src/sign/trust-files.ts";
import { airferry } from "./fixtures/host.ts";
import { writeKeyPair } from "./fixtures/keys.ts";
import { scratch } from "./fixtures/program.ts";

const dir = scratch(t);
for (const name of ["ann", "bob", "cay", "dan", "ann-2", "inside"]) writeKeyPair(dir, name);
const run = (...args: string[]) => airferry(dir, ["trust", ...args]);
const json = async (...args: string[]) => JSON.parse((await run(...args, "--json")).stdout);
const INIT = [
  "--name",
  "site-a",
  "--add",
  "ann.pub=Ann Example",
  "--add",
  "bob.pub=Bob Example",
  "--add",
  "cay.pub=Cay Example",
];
const chain = async (folder: string) => {
  const files = await readTrustFolder(join(dir, folder));
  return advance(verifyFirst(files[0]!), files).root;
};

t.test("init, sign, show: the first version", async (t) => {
  const made = await run("init", "tr", ...INIT, "--stream", "alpha:audience=site-a,max-age=2w,max-jump=20,attest=scan");
  t.equal(made.status, 0, made.stderr);
  t.match(
    made.stdout,
    /^trust root {2}site-a, version 1, issued .*\nfile {8}tr\/trust\.1\.json\nfingerprint sha256:[0-9a-f]{8}( [0-9a-f]{8}){7}\n/,
  );
  t.match(
    made.stdout,
    /stream {6}alpha: for site-a, at most 14 days old, serials at most 20 apart, attested by scan\n/,
  );
  t.match(
    made.stderr,
    /still lacking: signatures: 2 of the root role of version 1; sign it with: airferry trust sign tr --key FILE/,
  );
  await t.rejects(chain("tr"), { code: "ERR_TRUST_SIGNATURES" });
  t.match((await run("sign", "tr", "--key", "ann.key")).stderr, /still lacking: signatures: 1 of/);
  t.match(await run("sign", "tr", "--key", "dan.key"), { status: 2, stderr: /this key is not one of its root role/ });
  t.match((await run("sign", "tr", "--key", "bob.key")).stderr, /all signatures are there/);
  t.match(await json("show", "tr"), { version: 1, signed: ["ann", "bob"], lacking: null });
  t.match(await json("show", "tr/trust.1.json"), { version: 1 }, "the file stands for its folder");
  t.equal((await chain("tr")).streams.alpha?.maxAgeDays, 14);
  t.match(await run("init", "tr", ...INIT), { status: 2, stderr: /it has one, version 1/ });
});

t.test("changes collect in a draft; a signed version gets a successor", async (t) => {
  const before = readFileSync(join(dir, "tr/trust.1.json"));
  t.match(await json("add-key", "tr", "--add", "dan.pub=Dan Example"), {
    version: 2,
    lacking: /2 of the root role of version 2 and 2 of/,
  });
  t.match(await json("rotate", "tr", "--expires", "2y", "--threshold", "release=3"), { version: 2 });
  const { roles } = await json("rotate", "tr", "--drop-stream", "alpha", "--stream", "*");
  t.match(roles, [
    { role: "root", signers: ["ann", "bob", "cay"], threshold: 2 },
    { role: "release", signers: ["ann", "bob", "cay", "dan"], threshold: 3 },
  ]);
  t.same(readFileSync(join(dir, "tr/trust.1.json")), before, "a signed version stays as it is");
  await run("sign", "tr", "--key", "ann.key");
  await run("sign", "tr", "--key", "cay.key");
  t.equal((await chain("tr")).version, 2);
});

t.test("a key is replaced, with its old one's word; one is revoked", async (t) => {
  const replaced = await run("rotate", "tr", "--replace", "ann=ann-2.pub", "--old-key", "ann.key");
  t.equal(replaced.status, 0, replaced.stderr);
  t.match(replaced.stdout, /its owner's earlier key [0-9a-f]{16} signed for it/);
  t.match(await run("rotate", "tr", "--replace", "ann=dan.pub", "--old-key", "bob.key"), {
    status: 2,
    stderr: /is not ann's/,
  });
  await run("sign", "tr", "--key", "bob.key");
  await run("sign", "tr", "--key", "cay.key");
  t.equal((await chain("tr")).version, 3);
  const revoked = await json("revoke", "tr", "bob", "--reason", "card lost");
  t.match(revoked, {
    version: 4,
    revoked: [{ reason: "card lost" }],
    signers: [{}, { id: "bob", keys: [{ revoked: true }] }],
  });
  await run("sign", "tr", "--key", "ann-2.key");
  await run("sign", "tr", "--key", "cay.key");
  t.match((await chain("tr")).version, 4);
  t.match(await run("revoke", "tr", "cay", "--reason", "left"), {
    status: 2,
    stderr: /nobody could use it: roles\.root: threshold 2 with 1 distinct owners/,
  });
  t.equal((await run("sign", "tr", "--key", "bob.key")).status, 0, "he still is of the root role of version 3");
});

t.test("a role for receipts needs one signature, which is all that a receipt has", async (t) => {
  const { roles } = await json("add-key", "tr", "--add", "inside.pub=The server", "--role", "receipt");
  t.match(roles, [{ role: "root" }, { role: "release" }, { role: "receipt", signers: ["inside"], threshold: 1 }]);
});

t.test("bad input", async (t) => {
  writeFileSync(join(dir, "empty.pub"), "");
  const bad: [args: string[], status: number, what: RegExp][] = [
    [["show", "nowhere"], 1, /no trust\.1\.json there/],
    [["sign", "nowhere", "--key", "ann.key"], 1, /no trust\.1\.json there/],
    [["init", "x", "--name", "a b", "--add", "ann.pub=Ann"], 2, /name: not a name/],
    [["init", "x", "--add", "ann.pub=Ann"], 2, /needs a name/],
    [["init", "x", "--name", "a"], 2, /no signer/],
    [["init", "x", "--name", "a", "--add", "ann.pub"], 2, /must be FILE=OWNER/],
    [["init", "x", "--name", "a", "--add", "none.pub=A"], 1, /no such file/],
    [["init", "x", "--name", "a", "--add", "empty.pub=A"], 1, /no PEM block/],
    [
      ["init", "x", "--name", "a", "--add", "ann.pub=A", "--threshold", "root=2"],
      2,
      /threshold 2 with 1 distinct owners/,
    ],
    [["init", "x", "--name", "a", "--add", "ann.pub=A", "--threshold", "root=0"], 2, /must be ROLE=N/],
    [["init", "x", "--name", "a", "--add", "ann.pub=A", "--stream", "s:max-jump=x"], 2, /audience=SITE/],
    [["init", "x", "--name", "a", "--add", "ann.pub=A", "--expires", "2020-01-01"], 2, /expires: not after issued/],
    [["rotate", "tr", "--remove", "nobody"], 2, /there is no signer "nobody"/],
    [["revoke", "tr"], 2, /no key to revoke/],
    [["add-key", "tr"], 2, /no key to add/],
    [["rotate", "tr", "more"], 2, /no further arguments/],
    [["burn", "tr"], 2, /Allowed choices|one of/i],
    [["sign", "tr"], 2, /exactly one of --key and --signer/],
  ];
  for (const [args, status, what] of bad) t.match(await run(...args), { status, stderr: what }, args.join(" "));
  t.notOk(readdirSync(dir).includes("x"), "nothing was written");
  cpSync(join(dir, "tr"), join(dir, "hurt"), { recursive: true });
  writeFileSync(join(dir, "hurt/trust.4.json"), "{}");
  t.match(await run("show", "hurt"), { status: 3, stderr: /unknown format/ });
});
