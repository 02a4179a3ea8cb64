/** Exit status 4: upstream failed or gave something else, one real cause for each code. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { EXIT } from "../../src/errors.ts";
import { type Row, walk } from "../fixtures/error-rows.ts";
import { writeManifest } from "../fixtures/program.ts";
import { makeRepository } from "../fixtures/rpm-metadata.ts";
import { type Behaviour, startUpstream } from "../fixtures/upstream.ts";

/** A manifest of one file that an upstream gives in its way. */
function given(
  command: string[],
  behaviour: Behaviour[] | Behaviour,
  entry: object = {},
  more: object = {},
): Row["cause"] {
  return async (dir, run) => {
    const files = new Map([["/x", "x\n".repeat(50_000)]]);
    const upstream = await startUpstream({ files, behaviour: { "/x": behaviour } });
    try {
      writeManifest(dir, { files: [{ url: `${upstream.url}/x`, ...entry }], ...more });
      return await run([...command, "m.yaml", ...(command[0] === "pack" ? ["--unsigned"] : [])]);
    } finally {
      await upstream.close();
    }
  };
}

t.test("what upstream did is told, and what helps", (t) =>
  walk(t, EXIT.upstream, {
    ERR_UPSTREAM: {
      cause: given(["plan"], { status: 404 }),
      message: /cannot .*http:\/\/127\.0\.0\.1:\d+\/x.*404/,
      hint: /check the URL in the manifest/,
    },
    ERR_UPSTREAM_DIGEST: {
      cause: given(["pack"], [], { sha256: "a".repeat(64) }),
      message: /digest mismatch: expected sha256:a{64} \(manifest\), got sha256:[0-9a-f]{64}/,
      hint: /the digest is in m.yaml: .* if upstream has sha256:[0-9a-f]{64}, correct it there/,
    },
    ERR_UPSTREAM_SIZE: {
      cause: async (dir, run) => {
        writeFileSync(join(dir, "a"), "one\n");
        writeManifest(dir, { files: [{ path: "./a" }] });
        await run(["lock", "m.yaml"]);
        writeFileSync(join(dir, "a"), "one and more\n");
        return run(["pack", "m.yaml", "--frozen", "--unsigned"]);
      },
      message: /changed since it was locked: expected 4 bytes, got 13/,
      hint: /if that is intended: airferry lock m.yaml --update/,
    },
    ERR_UPSTREAM_SIGNATURE: {
      cause: (dir, run) => {
        writeFileSync(join(dir, "a"), "one\n");
        writeFileSync(join(dir, "sums"), `${"0".repeat(64)}  a\n`);
        writeFileSync(join(dir, "sums.asc"), "no signature\n");
        writeFileSync(join(dir, "vendor.asc"), "no key\n");
        const checksums = { path: "./sums", signature: "./sums.asc", keys: ["./vendor.asc"] };
        writeManifest(dir, { files: [{ path: "./a", checksums }] });
        return run(["lock", "m.yaml"]);
      },
      message: /vendor\.asc|signature/,
      hint: /keys:/,
    },
    ERR_UPSTREAM_CHANGED: {
      cause: async (dir, run) => {
        const { files } = await makeRepository([{ name: "tool" }]);
        const repomd = String(files.get("repodata/repomd.xml"));
        const path = "/r/repodata/repomd.xml";
        const below = new Map([...files].map(([name, bytes]) => [`/r/${name}`, bytes]));
        // Another revision at every look.
        const moving = (_: unknown, n: number) => ({ body: Buffer.from(`${repomd}<!-- ${n} -->`) });
        const upstream = await startUpstream({ files: below, behaviour: { [path]: moving } });
        writeManifest(dir, { rpms: [{ name: "r", url: `${upstream.url}/r/`, gpgcheck: false }] });
        return run(["lock", "m.yaml"]).finally(() => upstream.close());
      },
      message: /the repository changed \d+ times while it was read/,
      hint: /run the command again once that is finished/,
    },
    ERR_UPSTREAM_INVALID: {
      cause: (dir, run) => {
        writeFileSync(join(dir, "image.tar"), "no archive\n");
        writeManifest(dir, { images: [{ archive: "./image.tar", as: "registry.example.com/x:1" }] });
        return run(["lock", "m.yaml"]);
      },
      message: /image\.tar/,
      hint: /save|copy/,
    },
  }),
);
