/** The verb export: one archive under its name when it is whole, or into a tool; nothing else is left. The tools are in interop/. */
import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { exportImage } from "../src/export.ts";
import { storeOfImages } from "./fixtures/image-store.ts";
import { TestImages } from "./fixtures/images.ts";
import { scratch } from "./fixtures/program.ts";

const REFERENCE = "example.com/lab/app:1";

const dir = scratch(t);
const images = new TestImages();
const image = images.image("linux/amd64", [{ "etc/motd": "hello\n" }]);
const store = await storeOfImages(dir, images, { [REFERENCE]: image });
const references = [REFERENCE];
mkdirSync(join(dir, "out"));
mkdirSync(join(dir, "bin"));

/** Puts a program of this name before all others on PATH. */
function program(name: string, script: string): void {
  writeFileSync(join(dir, "bin", name), `#!/bin/sh\n${script}\n`);
  chmodSync(join(dir, "bin", name), 0o755);
}

t.test("writes the archive under its name, and tells how far it is", async (t) => {
  const out = join(dir, "out/app.tar");
  let last: number[] = [];
  const exported = await exportImage({ store, references, out, progress: (done, total) => (last = [done, total]) });
  t.match(exported, { images: [{ reference: REFERENCE, digest: image.digest }], file: out });
  t.ok((last[0] as number) > 0 && (last[0] as number) <= (last[1] as number), last.join(" of "));
  t.same(readdirSync(join(dir, "out")), ["app.tar"]);
  const twice = await Promise.all([1, 2].map(() => exportImage({ store, references, out: join(dir, "out/twin.tar") })));
  t.equal(twice.length, 2, "two exports to one file do not meet in it");
  t.ok(readFileSync(join(dir, "out/twin.tar")).equals(readFileSync(out)), "the same bytes");
  t.same(readdirSync(join(dir, "out")), ["app.tar", "twin.tar"]);
});

t.test("refuses what is not one place, no image, and what the store does not have", async (t) => {
  const hint = `airferry export image ${REFERENCE} --store ${store} --out image.tar`;
  for (const places of [{}, { out: join(dir, "out/x"), load: "docker" as const }])
    await t.rejects(exportImage({ store, references, ...places }), { code: "ERR_USAGE", hint });
  await t.rejects(exportImage({ store, references: [], out: join(dir, "out/x") }), { code: "ERR_USAGE" });
  await t.rejects(exportImage({ store, references: ["none:1"], out: join(dir, "out/x") }), { code: "ERR_NOT_FOUND" });
  await t.rejects(exportImage({ store, references, stream: "other", out: join(dir, "out/x") }), {
    code: "ERR_NOT_FOUND",
  });
  await t.rejects(exportImage({ store, references, out: join(dir, "nowhere/x.tar") }), {
    code: "ERR_IO",
    path: join(dir, "nowhere/x.tar"),
  });
  t.same(readdirSync(join(dir, "out")), ["app.tar", "twin.tar"]);
});

t.test("a tool gets every byte; what it says and how it ends is told", async (t) => {
  const before = process.env.PATH;
  t.teardown(() => {
    process.env.PATH = before;
  });
  process.env.PATH = `${join(dir, "bin")}:${before}`;
  program("docker", `[ "$*" = load ] && cat >'${dir}/loaded.tar' && echo Loaded image: ${REFERENCE}`);
  t.match(await exportImage({ store, references, load: "docker" }), { said: `Loaded image: ${REFERENCE}` });
  t.ok(readFileSync(join(dir, "loaded.tar")).equals(readFileSync(join(dir, "out/app.tar"))));
  program("podman", "cat >/dev/null; echo no space left >&2; exit 125");
  await t.rejects(exportImage({ store, references, load: "podman" }), {
    code: "ERR_TOOL",
    message: /^cannot load with podman: exit status 125: no space left$/,
  });
  program("podman", "echo early >&2; exit 1");
  await t.rejects(exportImage({ store, references, load: "podman" }), { code: "ERR_TOOL", message: /early/ });
  process.env.PATH = join(dir, "out");
  await t.rejects(exportImage({ store, references, load: "docker" }), { code: "ERR_TOOL", message: /no such program/ });
});

t.test("a damaged blob leaves no archive", async (t) => {
  const layer = [...images.blobs].find(([digest]) => digest !== image.digest)?.[0] as string;
  const hex = layer.slice("sha256:".length);
  const blob = readdirSync(join(store, "blobs"), { recursive: true, encoding: "utf8" }).find((it) => it.endsWith(hex));
  const file = join(store, "blobs", blob as string);
  const bytes = readFileSync(file);
  const damaged = Buffer.from(bytes);
  damaged.writeUInt8(damaged.readUInt8(damaged.length - 1) ^ 1, damaged.length - 1);
  chmodSync(file, 0o644);
  writeFileSync(file, damaged);
  t.teardown(() => writeFileSync(file, bytes));
  await t.rejects(exportImage({ store, references, out: join(dir, "out/damaged.tar") }));
  t.same(readdirSync(join(dir, "out")), ["app.tar", "twin.tar"]);
});
