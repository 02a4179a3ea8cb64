/** Every command of VERIFY.txt, as printed there, by a shell in the folder of a bundle that pack made. */
import { spawnSync } from "node:child_process";
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { noise, sha256 } from "../fixtures/bundle-maker.ts";
import { clientEnv, clientPath, needs } from "../fixtures/clients.ts";
import { airferry } from "../fixtures/host.ts";
import { writeKeyPair } from "../fixtures/keys.ts";
import { CHECKOUT, commandEnvironment, scratch, writeManifest } from "../fixtures/program.ts";

const dir = scratch(t);
const VOLUME_BYTES = 64 * 1024;
const contents = new Map<string, Buffer>();
for (let index = 0; index < 24; index++)
  contents.set(`f${index} 'x`, noise(index === 7 ? 150_000 : 9000 + index, index));
const files = [...contents].map(([name, bytes]) => {
  writeFileSync(join(dir, name), bytes);
  return { path: name, sha256: sha256(bytes) };
});
// Two are carried once, one of them for both modes.
contents.set("twin", contents.get("f2 'x") as Buffer);
contents.set("a $HOME/twin", contents.get("f20 'x") as Buffer);
const twins = [
  { path: "f2 'x", as: "twin", sha256: sha256(contents.get("twin") as Buffer) },
  { path: "f20 'x", as: "a $HOME/twin", sha256: sha256(contents.get("a $HOME/twin") as Buffer) },
];
writeManifest(dir, { files: [...files, ...twins] });
writeKeyPair(dir, "first");
writeKeyPair(dir, "second");
const bin = join(dir, "path");
mkdirSync(bin);
writeFileSync(join(bin, "airferry"), `#!/bin/sh\nexec ${CHECKOUT.map((it) => `'${it}'`).join(" ")} "$@"\n`, {
  mode: 0o755,
});

const packArguments = ["pack", "m.yaml", "--key", "first.key", "--volume-size", "64KiB"];

/** The commands below the heading that begins with this number, or before all headings. */
function commandsOf(text: string, step: number): string[] {
  const parts = text.split(/^(?=\d\. )/m);
  const part = parts.find((it) => it.startsWith(`${step}. `)) ?? parts[0] ?? "";
  return part.split("\n").flatMap((line) => (line.startsWith("  ") ? [line.slice(2)] : []));
}

function shell(folder: string, command: string) {
  const env = clientEnv({ LC_ALL: "C.UTF-8" });
  const path = `${bin}:${join(process.execPath, "..")}:${env.PATH}`;
  return spawnSync("sh", ["-c", command], {
    cwd: folder,
    env: { ...env, ...commandEnvironment(dir), PATH: path },
    encoding: "utf8",
  });
}

/** Everything in a folder, with digests. */
function snapshot(folder: string): string[] {
  const found = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((it) => it.isFile());
  return found
    .map((it) => join(it.parentPath, it.name))
    .sort()
    .map((it) => `${it} ${sha256(readFileSync(it))}`);
}

/** Runs steps 1 to 3, all of which have to succeed. */
function check(t: Test, folder: string, text: string): void {
  for (const step of [0, 1, 2, 3]) {
    const commands = commandsOf(text, step);
    t.ok(commands.length > 0, `step ${step} has commands`);
    for (const command of commands) {
      if (command.startsWith("cosign ") && clientPath("cosign") === undefined) continue;
      const ran = shell(folder, command);
      t.equal(ran.status, 0, `${command}\n${ran.stdout}${ran.stderr}`);
      if (/fingerprint|openssl pkey/.test(command)) {
        const [id = ""] = ran.stdout.split(" ");
        t.match(text, id, "the key id in the text is the one that the command prints");
      }
      if (command.includes("awk")) t.equal(ran.stdout, "", command);
    }
  }
}

t.test("a bundle in one folder, and its rescue without a volume", async (t) => {
  if (!needs(t, "tar", "openssl", "sha256sum", "awk")) return;
  const packed = await airferry(dir, [...packArguments, "--out", "one"]);
  t.equal(packed.status, 0, packed.stderr);
  const bundle = join(dir, "one/test-000001");
  t.equal((await airferry(dir, ["sign", bundle, "--key", "second.key"])).status, 0);
  copyFileSync(join(dir, "first.pub"), join(dir, "one/airferry.pub"));
  const text = readFileSync(join(bundle, "VERIFY.txt"), "utf8");
  const before = snapshot(bundle);
  if (needs(t, "python3")) {
    const reader = join(import.meta.dirname, "../fixtures/reader.py");
    const ran = shell(bundle, `python3 '${reader}' verify . --trust ../airferry.pub`);
    t.match(ran.stdout, /^good: test, epoch 1, serial 1, /, ran.stderr);
  }
  check(t, bundle, text);
  for (const [name, bytes] of contents) t.ok(readFileSync(join(dir, "one/unpacked/files", name)).equals(bytes), name);
  t.equal(statSync(join(dir, "one/unpacked/files/twin")).mode & 0o777, 0o644);
  const spoilt = shell(bundle, "touch extra && { " + commandsOf(text, 2).at(-1) + "; rm extra; }");
  t.equal(spoilt.stdout, "extra\n", "what does not belong here is named");

  const inventory = JSON.parse(readFileSync(join(bundle, "airferry.json"), "utf8")) as {
    entries: { path: string; size: number; sha256: string; offset?: number }[];
    volumes: unknown[];
  };
  const last = inventory.volumes.length - 1;
  for (const [lost, damage] of [
    [0, "removed"],
    [3, "removed"],
    [last, "removed"],
    [2, "cut"],
    [2, "spoilt"],
  ] as const) {
    const place = join(dir, `lost-${lost}-${damage}`);
    const copy = join(place, "bundle");
    cpSync(bundle, copy, { recursive: true });
    const volume = join(copy, `data.tar.000${lost}`);
    const bytes = readFileSync(volume);
    if (damage === "removed") rmSync(volume);
    else writeFileSync(volume, damage === "cut" ? bytes.subarray(0, 1000) : noise(bytes.length, 99));
    const there = snapshot(copy);
    for (const command of commandsOf(text, 4)) {
      const ran = shell(copy, command);
      // tar says that something is missing; the list of what is lost may be empty.
      t.ok(ran.status === 0 || /tar -xif|grep -v/.test(command), `${command}\n${ran.stderr}`);
      if (command.includes("awk")) t.equal(ran.stdout, "", "nothing else is there");
    }
    const touched = (it: { offset?: number; size: number }) =>
      it.offset !== undefined &&
      it.offset - 512 < (lost + 1) * VOLUME_BYTES &&
      it.offset + it.size > lost * VOLUME_BYTES + (damage === "cut" ? 1000 : 0);
    const gone = new Set(inventory.entries.filter(touched).map((it) => it.sha256));
    const all = inventory.entries.length;
    t.ok(gone.size > 0 && gone.size < all / 2, `${gone.size} of ${all} files are lost`);
    for (const { path, sha256: digest } of inventory.entries) {
      const file = join(place, "rescued", path);
      if (existsSync(file)) t.equal(sha256(readFileSync(file)), digest, path);
      else t.ok(gone.has(digest), `${path} came back`);
    }
    t.same(snapshot(copy), there, "the bundle is as it was");
  }
  t.same(snapshot(bundle), before, "the bundle is as it was");
});

t.test("a set of media, each in a folder beside the others", async (t) => {
  if (!needs(t, "tar", "openssl", "sha256sum", "awk")) return;
  const packed = await airferry(dir, [...packArguments, "--out", "set", "--per-medium", "--serial", "2"]);
  t.equal(packed.status, 0, packed.stderr);
  const set = join(dir, "set/test-000002");
  copyFileSync(join(dir, "first.pub"), join(set, "airferry.pub"));
  const medium = join(
    set,
    readdirSync(set)
      .filter((it) => it.startsWith("medium-"))
      .at(-1) as string,
  );
  const before = snapshot(medium);
  const text = readFileSync(join(medium, "VERIFY.txt"), "utf8");
  check(t, medium, text);
  for (const [name, bytes] of contents) t.ok(readFileSync(join(set, "unpacked/files", name)).equals(bytes), name);
  rmSync(
    join(
      set,
      readdirSync(set)
        .filter((it) => it.startsWith("medium-"))
        .at(1) as string,
    ),
    { recursive: true },
  );
  for (const command of commandsOf(text, 4)) shell(medium, command);
  const saved = [...contents.keys()].filter((name) => existsSync(join(set, "rescued/files", name))).length;
  t.ok(saved > 10 && saved < contents.size, `${saved} of ${contents.size} files are saved without a medium`);
  t.same(snapshot(medium), before, "the medium is as it was");
});

t.test("damage that recovery files repair", async (t) => {
  if (!needs(t, "par2", "sha256sum")) return;
  const packed = await airferry(dir, [
    ...packArguments,
    "--out",
    "par",
    "--parity",
    "40",
    "--parity-set",
    "40",
    "--serial",
    "3",
  ]);
  t.equal(packed.status, 0, packed.stderr);
  const bundle = join(dir, "par/test-000003");
  const text = readFileSync(join(bundle, "VERIFY.txt"), "utf8");
  const volumes = readdirSync(bundle).filter((it) => it.startsWith("data.tar."));
  const digests = volumes.map((it) => sha256(readFileSync(join(bundle, it))));
  writeFileSync(join(bundle, "data.tar.0001"), "damaged", { flag: "r+" });
  rmSync(join(bundle, "data.tar.0002"));
  const before = snapshot(bundle);
  const commands = commandsOf(text, 4);
  for (const command of commands.slice(0, 4)) shell(bundle, command);
  t.same(
    volumes.map((it) => sha256(readFileSync(join(dir, "par/repaired", it)))),
    digests,
    "one damaged and one lost volume are back",
  );
  t.match(shell(bundle, commands[3] as string).stdout, /^data\.tar\.0002: OK$/m);
  t.same(snapshot(bundle), before, "the bundle is as it was");
});
