/** Exit status 3: what must not be trusted, one real cause for each code. */
import { chmodSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { EXIT } from "../../src/errors.ts";
import { type MakeOptions, makeBundle, makeKey, writeSignature } from "../fixtures/bundle-maker.ts";
import { type Row, walk } from "../fixtures/error-rows.ts";

const key = makeKey();
const files = { "files/a": Buffer.from("one\n"), "files/b": Buffer.from("two\n") };

/** A bundle `b` of `key`, spoilt, and what a command says of it. */
function bundle(
  verb: "verify" | "unpack",
  spoil: (bundle: string, dir: string) => void,
  more: Partial<MakeOptions> = {},
  flags: string[] = [],
): Row["cause"] {
  return (dir, run) => {
    const at = join(dir, "b");
    makeBundle(at, { files, keys: [key], ...more });
    writeFileSync(join(dir, "site.pub"), key.pem);
    spoil(at, dir);
    return run([verb, "b", ...(verb === "unpack" ? ["--store", "st"] : []), "--trust", "site.pub", ...flags]);
  };
}

/** Unpacks one bundle after another. */
function oneAfterTheOther(first: Partial<MakeOptions>, second: Partial<MakeOptions>): Row["cause"] {
  return async (dir, run) => {
    writeFileSync(join(dir, "site.pub"), key.pem);
    makeBundle(join(dir, "one"), { files, keys: [key], ...first });
    makeBundle(join(dir, "two"), { files, keys: [key], ...second });
    await run(["unpack", "one", "--trust", "site.pub", "--store", "st"]);
    return run(["unpack", "two", "--trust", "site.pub", "--store", "st"]);
  };
}

t.test("what is refused says why, and what helps", (t) =>
  walk(t, EXIT.refused, {
    ERR_DIGEST_MISMATCH: {
      cause: bundle("verify", (at) => writeFileSync(join(at, "VERIFY.txt"), "do not trust this fake\n")),
      message: /cannot trust bundle "b": 1 problem/,
      hint: /copy the named volumes again, then: airferry verify b --trust site.pub/,
    },
    ERR_SIZE_MISMATCH: {
      cause: bundle("verify", (at) => truncateSync(join(at, "data.tar.0000"), 512)),
      message: /cannot trust bundle "b"/,
      hint: /copy the named volumes again, then: airferry verify b --trust site.pub/,
    },
    ERR_SIGNATURE_INVALID: {
      cause: bundle("verify", (at) =>
        writeSignature(at, key, Buffer.from("x"), Buffer.from("3006020101020101", "hex")),
      ),
      message: /cannot trust bundle "b"/,
      hint: /do not use this bundle; ask the packer for it again/,
    },
    ERR_SIGNATURE_MISSING: {
      cause: bundle("verify", (at) => rmSync(join(at, "signatures"), { recursive: true })),
      message: /cannot trust bundle "b"/,
      hint: /have the packer run: airferry sign b --key FILE/,
    },
    ERR_KEY_UNTRUSTED: {
      cause: bundle("verify", (_at, dir) => writeFileSync(join(dir, "site.pub"), makeKey().pem)),
      message: /cannot trust bundle "b"/,
      hint: /compare the key id with the packer's out of band/,
    },
    ERR_THRESHOLD: {
      cause: bundle("verify", () => {}, {}, ["--threshold", "2"]),
      message: /cannot trust bundle "b"/,
      hint: /have another trusted signer run: airferry sign b --key FILE/,
    },
    ERR_PATH_UNSAFE: {
      cause: bundle("verify", (at) => symlinkSync("/etc/passwd", join(at, "extra"))),
      message: /cannot trust bundle "b"/,
      hint: /do not use this bundle/,
    },
    ERR_BUNDLE_INVALID: {
      cause: bundle("verify", () => {}, { spoil: () => Buffer.from("{}\n") }),
      message: /cannot trust bundle "b"/,
      hint: /do not use this bundle; ask the packer/,
    },
    ERR_BUNDLE_VERSION: {
      cause: bundle("unpack", () => {}, {
        spoil: (it) => void Object.assign(it, { mediaType: "application/vnd.airferry.inventory.v9+json" }),
      }),
      message: /unknown format/,
      hint: /a newer airferry packed it/,
    },
    ERR_BUNDLE_REQUIRES: {
      cause: bundle("unpack", () => {}, { spoil: (it) => void it.requires.push("recipes") }),
      message: /it requires recipes/,
      hint: /a newer airferry packed it/,
    },
    ERR_BUNDLE_INCOMPLETE: {
      cause: bundle("verify", (at) => rmSync(join(at, "data.tar.0000"))),
      message: /cannot trust bundle "b"/,
      hint: /airferry verify b --trust site.pub --partial/,
    },
    ERR_BUNDLE_EXTRA: {
      cause: bundle("verify", (at) => writeFileSync(join(at, "extra.txt"), "x")),
      message: /cannot trust bundle "b"/,
      hint: /remove what does not belong/,
    },
    ERR_SIZE_LIMIT: {
      cause: bundle("unpack", (at) => truncateSync(join(at, "SHA256SUMS"), 1024 ** 3)),
      message: /too large: at most \d+ bytes, got 1073741824/,
      hint: /do not use it: valid files are never this large/,
    },
    ERR_ROLLBACK: {
      cause: oneAfterTheOther({ serial: 2 }, { serial: 1 }),
      message: /cannot unpack/,
      hint: /--allow-rollback/,
    },
    ERR_EQUIVOCATION: {
      cause: oneAfterTheOther({}, { files: { "files/a": Buffer.from("other\n") } }),
      message: /cannot unpack/,
      hint: /two different bundles were signed with one serial/,
    },
    ERR_EXPIRED: {
      cause: bundle("verify", () => {}, { notAfter: "2026-01-02T00:00:00Z" }),
      message: /cannot trust bundle "b"/,
      hint: /have the packer pack again/,
    },
    ERR_DELTA_BASE: {
      cause: bundle("unpack", () => {}, { fromStore: ["files/b"] }),
      message: /cannot unpack/,
      hint: /carry a full bundle in/,
    },
    ERR_SCAN_FOUND: {
      cause: async (dir, run) => {
        writeFileSync(join(dir, "site.pub"), key.pem);
        writeFileSync(join(dir, "scan.sh"), '#!/bin/sh\n[ "$1" = --version ] || { echo "files/one: Bad"; exit 1; }\n');
        chmodSync(join(dir, "scan.sh"), 0o755);
        makeBundle(join(dir, "b"), { files, keys: [key] });
        return run(["unpack", "b", "--trust", "site.pub", "--store", "st", "--scan", "./scan.sh"]);
      },
      message: /cannot unpack "b": \.\/scan\.sh found something: files\/one: Bad/,
      hint: /do not serve it: ask the packer/,
    },
  }),
);
