/** Mistakes in manifests, each at its line and in words. */
import t from "tap";
import { AirferryError } from "../../src/errors.ts";
import { fileEntryOf } from "../../src/manifest/entry-names.ts";
import { parseManifest } from "../../src/manifest/load.ts";

const HEAD = "apiVersion: airferry/v1\nstream: s\n";

function problemsOf(text: string): string[] {
  try {
    parseManifest(text, "m");
  } catch (error) {
    if (error instanceof AirferryError) return error.problems.map((it) => `${it.path}: ${it.message}`);
    throw error;
  }
  return [];
}

t.test("what is good stays good", async (t) => {
  const sha512 = `sha512-${Buffer.alloc(64).toString("base64")}`;
  for (const text of [
    `${HEAD}expires: 90d\naudience: [site-b, site-a]\n`,
    `${HEAD}files:\n  - path: a\n    integrity: ${sha512}\n`,
    `${HEAD}files:\n  - { path: a, integrity: "sha256-${Buffer.alloc(32).toString("base64")} ${sha512}" }\n`,
    `${HEAD}files:\n  - path: a\n    as: x/a\n  - path: b\n    as: x/b\n    mode: "0755"\n`,
    `${HEAD}hosts:\n  a.example: { ca: x.pem }\n  a.example:8443: { ca: x.pem }\n`,
  ]) {
    t.strictSame(problemsOf(text), [], text);
  }
});

t.test("mistakes", async (t) => {
  const bad = new Map<string, string>([
    ["", 'm:1 apiVersion: is missing: must be "airferry/v1"'],
    ["apiVersion: airferry/v2\nstream: s\n", 'm:1 apiVersion: must be "airferry/v1", got "airferry/v2"'],
    [`${HEAD}expires: 99999999999y\n`, "m:3 expires: must be a number"],
    [`${HEAD}audience: []\n`, "m:3 audience: "],
    [`${HEAD}audience: [a/b]\n`, "m:3 audience[0]: must start with a letter or digit"],
    [`${HEAD}audience: [a, a]\n`, "m:3 audience: must not name a site twice"],
    [`${HEAD}expires: 0d\n`, "m:3 expires: must be a number"],
    [`${HEAD}files:\n  - path: a\n    integrity: garbage\n`, "m:5 files[0].integrity: must be an SRI string"],
    [`${HEAD}files:\n  - path: a\n    integrity: sha256-AAAA\n`, "m:5 files[0].integrity: must be an SRI string"],
    [`${HEAD}files:\n  - path: a\n    integrity: sha3-256-AAAA\n`, "m:5 files[0].integrity: must be an SRI string"],
    [`${HEAD}files:\n  - path: a\n    mode: "0756"\n`, 'must be "0644" or "0755", got "0756": did you mean 0755?'],
    [`${HEAD}files:\n  - path: a\n    mode: "rw"\n`, 'must be "0644" or "0755", got "rw"'],
    [`${HEAD}files:\n  - path: a\n    mode: 0755\n`, 'must be "0644" or "0755", got 755; write it in quotes'],
    [`${HEAD}files:\n  - path: a\n  - path: b\n    as: a/b\n`, 'm:5 files[1]: is below "a", which is a file: files[0]'],
    [`${HEAD}files:\n  - path: ""\n`, "m:4 files[0].path: must not be empty"],
    [`${HEAD}files:\n  - url: https://[::bad/x\n`, "m:4 files[0].url: cannot be read as a URL"],
    [`${HEAD}files:\n  - url: https://user:secret@h/x\n`, "m:4 files[0].url: must not contain a user or password"],
    [
      `${HEAD}files:\n  - path: a\n    checksums: { path: b, fingerprints: [${"A".repeat(40)}] }\n`,
      "m:5 files[0].checksums: fingerprints pin keys, but there are none",
    ],
    [`${HEAD}hosts:\n  "https://h/": { ca: x.pem }\n`, "must be a host, or host:port"],
    [`${HEAD}---\nstream: t\n`, "m:3: holds more than one document"],
    ["[1]", "m:1: expected a mapping, got a list"],
    [`${HEAD}images:\n  - ref: docker://x.example/y\n`, "m:4 images[0].ref: is not an image reference: it starts with"],
    [
      `${HEAD}images:\n  - ref: 127.0.0.1:99999/y\n`,
      'images[0].ref: is not an image reference: bad registry host "127',
    ],
    [`${HEAD}images:\n  - ref: x/y\n  - ref: x/y\n    as: "!!"\n`, "m:6 images[1].as: is not an image reference"],
    [`${HEAD}images:\n  - ref: ""\n`, "m:4 images[0].ref: must not be empty"],
    [
      `${HEAD}images:\n  - ref: busybox\n  - ref: x/y\n    as: docker.io/library/busybox:latest\n`,
      'm:5 images[1]: has the same reference as images[0]: "docker.io/library/busybox:latest"',
    ],
    [
      `${HEAD}images:\n  - ref: x/y\n    referrers: false\n    signatures: { keys: [k.pub] }\n`,
      "m:5 images[0].referrers: excludes the signatures that signatures: requires",
    ],
    [`${HEAD}images:\n  - { ref: x/y, platforms: ["windows(10)/amd64"] }\n`, "must look like linux/amd64"],
    [
      `${HEAD}files:\n  - { path: a, as: ../b }\n`,
      'm:4 files[0].as: is not a path below /files/: it has a ".." segment',
    ],
    [
      `${HEAD}files:\n  - { path: a, as: "b\\u202ec" }\n`,
      "files[0].as: is not a path below /files/: it has a control or",
    ],
    [`${HEAD}files:\n  - { path: "a\\\\b" }\n`, "has no file name in its path (it has a backslash)"],
    [`${HEAD}files:\n  - { url: "https://h/a%2Fb" }\n`, "has no file name in its URL (it has a slash)"],
    [
      `${HEAD}builder:\n  flavor: spectro-capi\n  imageconfig: { iso_name: ../victim/cron }\n`,
      "m:5 builder.imageconfig.iso_name: is not a path: it has a slash",
    ],
    [
      `${HEAD}builder: { flavor: spectro-capi, kickstart: /etc/x }\n`,
      "builder.kickstart: is not a path: it is absolute",
    ],
    [
      `${HEAD}builder: { flavor: spectro-capi, custom_scripts: { post: [a, ../b] } }\n`,
      'builder.custom_scripts.post[1]: is not a path: it has a ".." segment',
    ],
    [`${HEAD}isos:\n  - { name: ${"x".repeat(201)}, path: a }\n`, "isos[0].name: must be at most 200 characters long"],
  ]);
  for (const [text, wanted] of bad) {
    const found = problemsOf(text);
    t.ok(
      found.some((it) => it.includes(wanted)),
      `${JSON.stringify(text)}: ${JSON.stringify(found)}`,
    );
    t.notMatch(found.join(), /secret/, "no secret in a message");
  }
});

t.test("fileEntryOf() finds an entry by its path, as:, or the last segment of its URL", async (t) => {
  const manifest = parseManifest(
    `${HEAD}files:\n  - { url: "https://h/x/a%20b.bin?c" }\n  - { url: "https://h/a", as: d/e }\n  - { path: ./f }\n`,
    "m",
  );
  const [first, second, third] = manifest.files ?? [];
  t.equal(fileEntryOf(manifest, "a b.bin"), first);
  t.equal(fileEntryOf(manifest, "d/e"), second);
  t.equal(fileEntryOf(manifest, "f"), third);
  t.equal(fileEntryOf(manifest, "a"), undefined);
  t.equal(fileEntryOf({}, "a"), undefined);
});
