import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { AirferryError } from "../../src/errors.ts";
import { layOutBundle } from "../../src/pack/lay-out.ts";
import { resolveManifest } from "../../src/pack/resolve.ts";
import { openWorkspace } from "../../src/pack/workspace.ts";
import {
  formatLock,
  type Lock,
  lockDigest,
  lockedDigests,
  parseLock,
  readLock,
} from "../../src/sources/lock-document.ts";
import { TestImages, tarFolder } from "../fixtures/images.ts";
import { scratch, writeManifest } from "../fixtures/program.ts";
import { makeRpm } from "../fixtures/rpm-files.ts";

const digest = `sha256:${"ab".repeat(32)}` as const;
const integrity = `sha256:${"ab".repeat(32)}` as const;
const key = { path: "keys/x", kept: digest, fingerprints: ["ABCD"] };
const repository = { host: "registry.example.com", path: "a/b", insecure: false };

/** A lock with every key that a lock can have. */
const FULL: Lock = {
  lockVersion: 1,
  stream: "lab",
  time: "2026-11-30T00:00:00Z",
  last: { serial: 3, digest: `sha256:${"cd".repeat(32)}` },
  entries: [
    {
      kind: "iso",
      name: "el",
      request: "r1",
      artifacts: [
        {
          path: "isos/el.iso",
          urls: ["https://example.com/el.iso"],
          size: 5,
          integrity,
          established: "upstream-signed",
          signedBy: ["ABCD"],
          etag: '"e"',
        },
      ],
      detail: { keys: [key] },
    },
    {
      kind: "rpm",
      name: "baseos",
      request: "r2",
      artifacts: [
        { path: "rpms/baseos/repodata/repomd.xml", kept: digest, size: 5, integrity, established: "generated" },
      ],
      detail: {
        mode: "subset",
        repomdSignedBy: "airferry",
        gpgcheck: true,
        moduleHotfixes: true,
        legacySignatures: true,
        rpmrepo: false,
        quarantine: false,
        packages: 1,
        tree: false,
        arch: ["x86_64"],
        keys: [key],
        metadata: { repomd: digest, primary: digest, other: digest },
        why: { "a-0:1-1.x86_64": ["b"] },
        notes: ["n"],
        leftOut: [{ package: "a-0:1-1.x86_64", needs: "(a if b)", fault: "f" }],
        upstreamRepomd: "ab".repeat(32),
        listing: "l",
        pendingIsos: ["el"],
        quarantined: [{ path: "rpms/baseos/x.rpm", reason: "r" }],
      },
    },
    {
      kind: "file",
      name: "a/b",
      request: "r3",
      artifacts: [{ path: "files/a/b", file: "./b", size: 0, integrity, established: "manifest", mode: "0755" }],
    },
    {
      kind: "image",
      name: "x.tar",
      request: "r4",
      artifacts: [
        {
          path: `images/blobs/sha256/${"ab".repeat(32)}`,
          file: "x.tar",
          offset: 512,
          codec: "gzip",
          size: 5,
          integrity,
          established: "first-sight",
        },
      ],
      detail: {
        images: [
          {
            reference: "registry.example.com/a/b:1",
            digest,
            mediaType: "m",
            manifestSize: 5,
            platforms: ["linux/amd64"],
            manifests: [digest],
            referrers: [{ digest, mediaType: "m", size: 1, subject: digest, artifactType: "a" }],
            tags: { "sha256-ab.sig": digest },
            source: "s",
            paths: ["p"],
          },
        ],
        registry: repository,
        needed: [repository],
      },
    },
  ],
};

/** Keys that may be absent, and lists and maps that may be shorter. */
const OPTIONAL =
  /^last$|\.(urls|file|offset|codec|kept|size|integrity|signedBy|etag|mode|moduleHotfixes|legacySignatures|arch|leftOut|fault|upstreamRepomd|listing|pendingIsos|quarantined|registry|needed|subject|artifactType|source)$|\.(other|a-0:1-1\.x86_64|sha256-ab\.sig)$|\[\d+\]$|^entries\[0\]\.detail$/;
const OTHERS = [undefined, null, true, 7, -1, 1.5, "x", "", [], {}, [7], ["x"], { x: "x" }];

type Path = (string | number)[];
const shown = (path: Path) =>
  path.map((it, i) => (typeof it === "number" ? `[${it}]` : `${i > 0 ? "." : ""}${it}`)).join("");

function* pathsIn(value: unknown, path: Path = []): Generator<Path> {
  if (path.length > 0) yield path;
  if (typeof value !== "object" || value === null) return;
  for (const [name, it] of Object.entries(value))
    yield* pathsIn(it, [...path, Array.isArray(value) ? Number(name) : name]);
}

// biome-ignore lint/suspicious/noExplicitAny: any place of any document
const parentOf = (root: any, path: Path): any => path.slice(0, -1).reduce((it, name) => it[name], root);

/** Every lock that differs from `whole` in one place, and what is different. */
function* mutated(whole: object): Generator<{ what: string; path: Path; deleted: boolean; lock: object }> {
  for (const path of pathsIn(whole)) {
    const last = path.at(-1) as string;
    const before = parentOf(whole, path)[last];
    for (const other of OTHERS) {
      if (JSON.stringify(other) === JSON.stringify(before)) continue;
      const copy = structuredClone(whole);
      const parent = parentOf(copy, path);
      if (other !== undefined) parent[last] = other;
      else if (Array.isArray(parent)) parent.splice(Number(last), 1);
      else delete parent[last];
      yield {
        what: `${shown(path)}: ${JSON.stringify(other) ?? "deleted"}`,
        path,
        deleted: other === undefined,
        lock: copy,
      };
    }
    if (typeof before === "object" && !Array.isArray(before)) {
      const copy = structuredClone(whole);
      parentOf(copy, path)[last].unheard = 1;
      yield { what: `${shown(path)}: unheard`, path, deleted: false, lock: copy };
    }
  }
}

async function faultOf(work: Promise<unknown>): Promise<AirferryError | undefined> {
  return work.then(
    () => undefined,
    (error: unknown) => (error instanceof AirferryError ? error : new AirferryError("ERR_INTERNAL", String(error))),
  );
}

t.test("readLock() gives back what formatLock() wrote, and the same digest", async (t) => {
  const file = join(scratch(t), "m.lock.json");
  writeFileSync(file, formatLock(FULL));
  const read = (await readLock(file)) as Lock;
  t.same(read, FULL);
  t.equal(formatLock(read), formatLock(FULL));
  t.equal(lockDigest(read), lockDigest({ ...FULL, last: { serial: 4, digest: `sha256:${"ef".repeat(32)}` } }));
  t.equal(await readLock(join(t.testdir(), "absent")), undefined);
});

t.test("readLock() waits for no pipe", async (t) => {
  const file = join(t.testdir(), "x.lock.json");
  execFileSync("mkfifo", [file]);
  await t.rejects(readLock(file), { code: "ERR_LOCK_INVALID", message: /not a regular file/ });
});

t.test("digests stand in the file as SRI strings, and stay as they stand there", async (t) => {
  const sri = (algorithm: string) => `${algorithm}-${createHash(algorithm).update("x").digest("base64")}`;
  const digest = (algorithm: string) => `${algorithm}:${createHash(algorithm).update("x").digest("hex")}`;
  const text = formatLock(FULL);
  const own = `sha256-${Buffer.from("ab".repeat(32), "hex").toString("base64")}`;
  t.equal(text.split(`"integrity": "${own}"`).length, 5, "every artifact of the lock");
  for (const algorithms of [["sha1"], ["md5"], ["sha224"], ["sha512", "sha256"], ["sha256", "sha384", "sha256"]]) {
    const written = text.replaceAll(own, algorithms.map(sri).join(" "));
    const read = parseLock(written, "x");
    t.equal(read.entries[0]?.artifacts[0]?.integrity, algorithms.map(digest).join(" "));
    t.equal(formatLock(read), written, algorithms.join(" "));
  }
  const mixed = parseLock(text.replaceAll(own, `sha3-AAAA ${sri("sha512")}?option`), "x");
  t.equal(mixed.entries[0]?.artifacts[0]?.integrity, digest("sha512"), "what can be checked of it");
});

t.test("digestsOf() finds what is kept, not what artifacts are expected to be", (t) => {
  const [iso, rpm] = FULL.entries;
  t.same([...lockedDigests([{ ...iso, detail: undefined }])], []);
  t.same([...lockedDigests([rpm])], [digest]);
  t.end();
});

t.test("readLock() names the place of each fault", async (t) => {
  const file = join(scratch(t), "m.lock.json");
  let refused = 0;
  for (const { what, path, deleted, lock } of mutated(JSON.parse(formatLock(FULL)))) {
    writeFileSync(file, JSON.stringify(lock));
    const fault = await faultOf(readLock(file));
    // What may be absent may be; lists may be empty, and free text any text.
    if (fault === undefined) {
      const free = deleted ? OPTIONAL.test(shown(path)) : true;
      t.ok(free, `${what} is taken`);
      continue;
    }
    refused++;
    t.match(fault, { code: "ERR_LOCK_INVALID", path: file }, what);
    const root = shown(path.slice(0, 1));
    const problems = fault.problems ?? [];
    t.ok(
      problems.length > 0
        ? problems.every((it) => it.path.startsWith(root) || it.path === "")
        : /version/.test(fault.message),
      what,
    );
  }
  t.ok(refused > 900, `${refused} of them are refused`);
});

t.test("readLock() says where exactly, and what stands there", async (t) => {
  const file = join(scratch(t), "m.lock.json");
  const at = (change: (lock: Lock) => void) => {
    const copy = structuredClone(FULL);
    change(copy);
    return formatLock(copy);
  };
  const text = formatLock(FULL);
  const cases = new Map<string, [string, RegExp]>([
    [
      "a key deleted",
      [at((it) => delete (it.entries[1] as { detail?: object }).detail), /: entries\[1\]\.detail: missing$/],
    ],
    [
      "another type",
      [
        at((it) => Object.assign(it.entries[0]!.artifacts[0]!, { size: "5" })),
        /: entries\[0\]\.artifacts\[0\]\.size: expected .*got "5"/,
      ],
    ],
    ["an unknown key", [at((it) => Object.assign(it.entries[2]!, { nevra: 1 })), /: entries\[2\]: unknown "nevra"$/]],
    [
      "kinds swapped",
      [
        at((it) => Object.assign(it.entries[2]!, { kind: "iso" })),
        /: entries\[2\]\.artifacts\[0\]\.path: expected a path below isos\//,
      ],
    ],
    [
      "details swapped",
      [at((it) => Object.assign(it.entries[3]!, { detail: FULL.entries[1] })), /: entries\[3\]\.detail/],
    ],
    ["no kind", [at((it) => Object.assign(it.entries[3]!, { kind: "charts" })), /: entries\[3\]\.kind: /]],
    [
      "two places for one artifact",
      [
        at((it) => Object.assign(it.entries[2]!.artifacts[0]!, { kept: digest })),
        /: entries\[2\]\.artifacts\[0\]: expected one of urls, file and kept/,
      ],
    ],
    [
      "a path out of the bundle",
      [at((it) => Object.assign(it.entries[2]!.artifacts[0]!, { path: "files/../../x" })), /artifacts\[0\]\.path/],
    ],
    [
      "an integrity of nothing",
      [
        text.replace(/"integrity": "[^"]*"/, `"integrity": "${digest}"`),
        /artifacts\[0\]\.integrity: expected an SRI string/,
      ],
    ],
    [
      "merge markers",
      [text.replace(' "stream"', '<<<<<<< HEAD\n "stream"'), /: line \d+ has the marks of a merge: "<<<<<<< HEAD"$/],
    ],
    ["a cut file", [text.slice(0, 500), /: not JSON: /]],
    ["an empty file", ["", /: not JSON: /]],
    ["another version", [text.replace('"lockVersion": 1', '"lockVersion": 2'), /: it is of version 2: expected 1$/]],
    ["no lock at all", ["[]", /: expected object, got \[\]$/]],
  ]);
  for (const [name, [content, message]] of cases) {
    writeFileSync(file, content);
    const fault = await faultOf(readLock(file));
    t.match(fault, { code: "ERR_LOCK_INVALID", message, path: file, hint: /lock/ }, name);
  }
});

t.test("whatever stands in a lock, lock and plan end in an error of their own or in none", async (t) => {
  const dir = scratch(t);
  mkdirSync(join(dir, "loose"));
  writeFileSync(join(dir, "loose/a.rpm"), makeRpm());
  writeFileSync(join(dir, "some.txt"), "text");
  writeFileSync(join(dir, "el.img"), Buffer.alloc(40 * 2048));
  const images = new TestImages();
  mkdirSync(join(dir, "layout"));
  images.writeLayout(join(dir, "layout"), { "vendor.example/bb:1.0": images.image("linux/amd64", [{ a: "a" }]) });
  tarFolder(join(dir, "layout"), join(dir, "bb.tar"));
  const file = writeManifest(dir, {
    isos: [{ name: "el", path: "el.img" }],
    rpms: [{ name: "own", path: "loose", gpgcheck: false }],
    files: [{ path: "some.txt" }],
    images: [{ archive: "bb.tar" }],
  });
  const lockFile = join(dir, "m.lock.json");
  const run = async (frozen: boolean) => {
    await using workspace = await openWorkspace(file, { cacheDir: join(dir, ".cache") });
    const locked = await resolveManifest(workspace, { pinFirstSight: true, frozen });
    return layOutBundle(workspace, locked.lock, 1024 ** 3);
  };
  await run(false);
  const whole = JSON.parse(readFileSync(lockFile, "utf8"));
  t.equal(whole.entries.length, 4, "every kind is in it");
  let count = 0;
  for (const { what, lock } of mutated(whole)) {
    writeFileSync(lockFile, JSON.stringify(lock));
    const fault = await faultOf(run(true));
    count++;
    if (fault !== undefined && fault.code === "ERR_INTERNAL") t.fail(`${what}: ${fault.message}`);
  }
  t.ok(count > 500, `${count} locks`);
});
