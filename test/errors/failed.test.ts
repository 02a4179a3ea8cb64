/** Exit status 1: this host, its disk, its keys, a tool: one real cause for each code. */
import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { dirname, join } from "node:path";
import t from "tap";
import { EXIT } from "../../src/errors.ts";
import { makeBundle, makeKey, sampleFiles } from "../fixtures/bundle-maker.ts";
import { type Run, walk } from "../fixtures/error-rows.ts";
import { freePort } from "../fixtures/free-port.ts";
import { TestImages } from "../fixtures/images.ts";
import { type Ran, ROOT, writeManifest } from "../fixtures/program.ts";
import { makeRepository } from "../fixtures/rpm-metadata.ts";

const key = makeKey();

/** A store `st` with one release. */
async function store(dir: string, run: Run): Promise<void> {
  writeFileSync(join(dir, "site.pub"), key.pem);
  makeBundle(join(dir, "b"), { files: sampleFiles(), keys: [key] });
  await run(["unpack", "b", "--trust", "site.pub", "--store", "st"]);
}

/** A store `st` with one image. */
async function images(dir: string, run: Run): Promise<void> {
  const made = new TestImages();
  const image = made.image("linux/amd64", [{ "etc/x": "x\n" }]);
  writeFileSync(join(dir, "site.pub"), key.pem);
  makeBundle(join(dir, "b"), {
    files: made.content(),
    keys: [key],
    spoil: (it) => void it.catalog.images.push(made.catalogImage("registry.example.com/x:1", image)),
  });
  await run(["unpack", "b", "--trust", "site.pub", "--store", "st"]);
}

/** A server that answers every request alike, while `work` runs. */
async function serving<T>(headers: Record<string, string>, work: (port: number) => Promise<T>): Promise<T> {
  const server = createServer((_request, response) => response.writeHead(200, headers).end());
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  try {
    return await work((server.address() as AddressInfo).port);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

/** What the program prints of an error that no command can be made to meet here. */
function printed(dir: string, error: string): Ran {
  const [main, atomic] = ["cli/main.ts", "io/atomic.ts"].map((it) => JSON.stringify(join(ROOT, "src", it)));
  const script = `const { printUncaught } = await import(${main}); const { ioError } = await import(${atomic});
    printUncaught(["--progress", "json"], ${error}); process.exitCode = 1;`;
  return spawnSync(process.execPath, ["--input-type=module", "-e", script], { cwd: dir, encoding: "utf8" });
}

/** What the program prints when nothing listens where a store is. */
function unreachable(dir: string): Ran {
  const [main, target, bucket] = ["cli/main.ts", "s3/s3-target.ts", "s3/bucket.ts"].map((it) =>
    JSON.stringify(join(ROOT, "src", it)),
  );
  const script = `const { printUncaught } = await import(${main}); const { parseS3Target } = await import(${target});
    const { openBucket } = await import(${bucket}); process.exitCode = 1;
    const opened = await openBucket(parseS3Target("s3://bucket/store?endpoint=http://127.0.0.1:1"), { patienceMs: 0 });
    await opened.head("airferry-store.json").catch((it) => printUncaught(["--progress", "json"], it));`;
  const env = { ...process.env, AWS_ACCESS_KEY_ID: "key", AWS_SECRET_ACCESS_KEY: "secret" };
  return spawnSync(process.execPath, ["--input-type=module", "-e", script], { cwd: dir, encoding: "utf8", env });
}

t.test("what this host lacks is told, and what helps", (t) =>
  walk(t, EXIT.failed, {
    ERR_INTERNAL: {
      // No input is known to do it: the very function that prints what nobody caught, with a bug.
      cause: async (dir) => printed(dir, `new TypeError("x is not a function")`),
      message: /x is not a function/,
      hint: /a bug in airferry; run again with AIRFERRY_DEBUG=1/,
    },
    ERR_IO: {
      cause: (dir, run) => {
        mkdirSync(join(dir, "folder"));
        return run(["plan", "folder"]);
      },
      message: /cannot read manifest "folder"/,
      hint: /give the manifest's file, not its folder/,
    },
    ERR_SPACE: {
      cause: async (dir, run) => {
        writeFileSync(join(dir, "a"), "one\n");
        writeManifest(dir, { files: [{ path: "./a" }] });
        await run(["lock", "m.yaml"]);
        const lock = readFileSync(join(dir, "m.lock.json"), "utf8");
        writeFileSync(join(dir, "m.lock.json"), lock.replace(/"size": ?4\b/, `"size": ${2 ** 45}`));
        return run(["pack", "m.yaml", "--frozen", "--unsigned", "--volume-size", "64TiB"]);
      },
      message: /TiB missing: 32\.0 TiB needed, .* free/,
      hint: /free some space and run the same command again/,
    },
    ERR_FILE_TOO_LARGE: {
      // A FAT medium cannot be mounted everywhere, and a limit of the shell kills Node before the write fails.
      cause: async (dir) =>
        printed(dir, `ioError("write", "data.tar.0000", Object.assign(new Error(), { code: "EFBIG" }))`),
      message: /cannot write "data.tar.0000": too large for its file system/,
      hint: /use another file system, or smaller volumes: --volume-size fat32/,
    },
    ERR_BUSY: {
      cause: (dir, run) =>
        serving({}, async (port) => {
          await store(dir, run);
          return run(["serve", "--store", "st", "--listen", `127.0.0.1:${port}`]);
        }),
      message: /127\.0\.0\.1:\d+/,
      hint: /ss -ltnp 'sport = :\d+'; or choose another port with --listen/,
    },
    ERR_NOT_FOUND: {
      cause: (dir, run) => {
        mkdirSync(join(dir, "b"));
        return run(["verify", "b", "--trust", "nope.pub"]);
      },
      message: /cannot read trusted key "nope.pub": no such file/,
      hint: /^give the packer's public key: a .pub file received out of band$/,
    },
    ERR_STORE_INVALID: {
      cause: async (dir, run) => {
        writeFileSync(join(dir, "site.pub"), key.pem);
        makeBundle(join(dir, "b"), { files: sampleFiles(), keys: [key] });
        mkdirSync(join(dir, "full"));
        writeFileSync(join(dir, "full", "letter.txt"), "x");
        return run(["unpack", "b", "--trust", "site.pub", "--store", "full"]);
      },
      message: /cannot create store "full": the folder is not empty/,
      hint: /give --store a new or empty folder, or the existing store/,
    },
    ERR_STORE_EMPTY: {
      cause: async (dir, run) => {
        writeFileSync(join(dir, "site.pub"), key.pem);
        const big = { "files/big": Buffer.alloc(300_000, 7) };
        const made = makeBundle(join(dir, "set"), { files: big, keys: [key], volumeSize: 100_000, perMedium: 1 });
        await run(["unpack", made.folders[0] as string, "--trust", "site.pub", "--store", "my store"]);
        return run(["serve", "--store", "my store", "--listen", "127.0.0.1:0"]);
      },
      message: /./,
      hint: /airferry unpack \S+ --trust KEY --store 'my store'/,
    },
    ERR_OBJECT_STORAGE: {
      cause: async (dir) => unreachable(dir),
      message:
        /cannot look at "airferry-store.json" of store "s3:\/\/bucket\/store\?endpoint=http:\/\/127.0.0.1:1": .*ECONNREFUSED/,
      hint: /check that the endpoint is right and its service runs; then run the same command again/,
    },
    ERR_KEY_INVALID: {
      cause: (dir, run) => {
        writeFileSync(join(dir, "site.pub"), "no key\n");
        return run(["verify", "b", "--trust", "site.pub"]);
      },
      message: /cannot read public key "site.pub": not a public key: expected PEM "PUBLIC KEY", got no PEM block/,
      hint: /give the .pub file/,
    },
    ERR_KEY_EXPOSED: {
      cause: (dir, run) => {
        writeFileSync(join(dir, "my site.key"), key.privateKey.export({ type: "pkcs8", format: "pem" }));
        chmodSync(join(dir, "my site.key"), 0o644);
        makeBundle(join(dir, "b"), { files: sampleFiles(), keys: [] });
        return run(["sign", "b", "--key", "my site.key"]);
      },
      message: /everybody on this machine can read it/,
      hint: /chmod o= 'my site.key'/,
    },
    ERR_PASSWORD: {
      cause: (_dir, run) => run(["keygen", "--out", "site"], { AIRFERRY_PASSWORD: undefined }),
      message: /it needs a passphrase and there is no terminal/,
      hint: /set AIRFERRY_PASSWORD/,
    },
    ERR_SIGNER: {
      cause: (dir, run) => {
        writeFileSync(join(dir, "hsm.pub"), key.pem);
        makeBundle(join(dir, "b"), { files: sampleFiles(), keys: [] });
        return run(["sign", "b", "--signer", "exit 7", "--signer-key", "hsm.pub"]);
      },
      message: /cannot sign with "exit 7"/,
      hint: /must read the bytes on standard input/,
    },
    ERR_ISO_INVALID: {
      cause: async (dir, run) => {
        for (const [path, bytes] of (await makeRepository([{ name: "app" }])).files) {
          mkdirSync(dirname(join(dir, "repo", path)), { recursive: true });
          writeFileSync(join(dir, "repo", path), bytes);
        }
        writeFileSync(join(dir, "x.iso"), Buffer.alloc(100_000));
        writeManifest(dir, {
          isos: [{ name: "x", path: "./x.iso", packages: true }],
          rpms: [{ name: "r", path: "./repo", gpgcheck: false, packages: ["app"] }],
        });
        return run(["lock", "m.yaml"]);
      },
      message: /x/,
      hint: /./,
    },
    ERR_PUBLISH: {
      cause: async (dir, run) => {
        await images(dir, run);
        return run(["publish", `127.0.0.1:${await freePort()}`, "--store", "st", "--insecure"]);
      },
      message: /cannot reach registry|cannot push/,
      hint: /check the address; --insecure for plain HTTP, --ca FILE for a private CA/,
    },
    ERR_TOOL: {
      cause: async (dir, run) => {
        await images(dir, run);
        return run(["export", "image", "registry.example.com/x:1", "--store", "st", "--load", "docker"], { PATH: dir });
      },
      message: /docker/,
      hint: /write a file instead: --out image.tar/,
    },
    ERR_BASE_UNKNOWN: {
      cause: (dir, run) => {
        writeFileSync(join(dir, "a"), "one\n");
        writeManifest(dir, { files: [{ path: "a" }] });
        return run(["pack", "m.yaml", "--unsigned", "--base", "9"]);
      },
      message: /cannot find serial 9 of test in "bundles": expected its bundle, got no bundle of the stream/,
      hint: /SHA256SUMS, airferry\.json and data\.pieces are enough/,
    },
    ERR_SCANNER: {
      cause: async (dir, run) => {
        await store(dir, run);
        return run(["unpack", "b", "--trust", "site.pub", "--store", "st", "--scan", "./no-scanner -r"]);
      },
      message: /cannot start scanner "\.\/no-scanner -r": no such program/,
      hint: /install it, or give its full path/,
    },
  }),
);
