/** Exit status 2: command lines, manifests and locks that are wrong, one real cause for each code. */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import t from "tap";
import { EXIT } from "../../src/errors.ts";
import { makeBundle, makeKey } from "../fixtures/bundle-maker.ts";
import { type Row, type Run, walk } from "../fixtures/error-rows.ts";
import { writeManifest } from "../fixtures/program.ts";
import { makeRepository } from "../fixtures/rpm-metadata.ts";

const key = makeKey();

/** A manifest of one local file, locked. */
async function locked(dir: string, run: Run, more: object = {}): Promise<void> {
  writeFileSync(join(dir, "a"), "one\n");
  writeManifest(dir, { files: [{ path: "./a" }], ...more });
  await run(["lock", "m.yaml"]);
}

/** A store `my store` with one release. */
async function store(dir: string, run: Run): Promise<void> {
  writeFileSync(join(dir, "site.pub"), key.pem);
  makeBundle(join(dir, "b"), { files: { "files/a": Buffer.from("1") }, keys: [key] });
  await run(["unpack", "b", "--trust", "site.pub", "--store", "my store"]);
}

const unresolved: Row["cause"] = async (dir, run) => {
  const repository = await makeRepository([{ name: "app", requires: ["lib.so.1"] }]);
  for (const [path, bytes] of repository.files) {
    mkdirSync(dirname(join(dir, "repo", path)), { recursive: true });
    writeFileSync(join(dir, "repo", path), bytes);
  }
  // Of a package that the target has and no repository lists, only the name is known.
  writeFileSync(join(dir, "target.txt"), "lib-1-1.x86_64\n");
  writeManifest(dir, {
    rpms: [{ name: "r", path: "./repo", gpgcheck: false, packages: ["app"], baseline: "target.txt" }],
  });
  return run(["plan", "m.yaml"]);
};

t.test("what is asked for wrongly is told with what is right", (t) =>
  walk(t, EXIT.usage, {
    ERR_USAGE: {
      cause: (_dir, run) => run(["init", "a b", "--for", "rocky-9-cpai"]),
      message: /no such ready manifest: expected one of .*image-builder/,
      hint: /airferry init 'a b' --for rocky-9-capi/,
    },
    ERR_MANIFEST_INVALID: {
      cause: (dir, run) => {
        writeManifest(dir, { filez: [] });
        return run(["plan", "m.yaml"]);
      },
      message: /cannot use manifest "m.yaml": 1 problem$/,
      hint: /airferry schema/,
    },
    ERR_LOCK_INVALID: {
      cause: async (dir, run) => {
        await locked(dir, run);
        writeFileSync(join(dir, "m.lock.json"), "{}");
        return run(["plan", "m.yaml"]);
      },
      message: /cannot read lock "m.lock.json"|m\.lock\.json/,
      hint: /remove it and lock again: airferry lock m\.yaml$/,
    },
    ERR_LOCK_STALE: {
      cause: async (dir, run) => {
        await locked(dir, run);
        writeFileSync(join(dir, "c"), "three\n");
        writeManifest(dir, { files: [{ path: "./a" }, { path: "./c" }] });
        return run(["pack", "m.yaml", "--frozen", "--unsigned"]);
      },
      message: /--frozen|does not match|lock/,
      hint: /airferry lock m.yaml/,
    },
    ERR_REFERENCE_INVALID: {
      cause: async (dir, run) => {
        await store(dir, run);
        return run(["export", "image", "UPPER case", "--store", "my store", "--out", "x.tar"]);
      },
      message: /cannot read image reference "UPPER case"/,
      hint: /write it as host\/path:tag/,
    },
    ERR_UNRESOLVED: {
      cause: unresolved,
      message: /cannot resolve packages: 1 unavailable/,
      hint: /what 1 package of the baseline provides besides the name is unknown .*add the repository/,
    },
    ERR_FINDINGS: {
      cause: async (dir, run) => {
        await locked(dir, run, {
          builder: { flavor: "spectro-capi", imageconfig: { os_version: "rockylinux-99", k8s_version: "1.33.4" } },
        });
        return run(["pack", "m.yaml", "--unsigned"]);
      },
      message: /finding/,
      hint: /--allow-findings/,
    },
    ERR_RENDER: {
      cause: async (dir, run) => {
        await store(dir, run);
        return run(["render", "imageconfig", "--store", "my store", "--url", "http://192.0.2.10:9000"]);
      },
      message: /cannot render "imageconfig"/,
      hint: /^add to the manifest, then pack again:\nbuilder:\n {2}flavor: spectro-capi$/,
    },
  }),
);
