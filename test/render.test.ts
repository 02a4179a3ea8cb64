/** `render --out`: what is on the host already is the host's, and a folder gets only what has a place in it. */
import { chmod, mkdir, readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import { exitStatusOf } from "../src/errors.ts";
import { render } from "../src/render.ts";
import { shortDir } from "./fixtures/el-dvd.ts";
import { imageOf } from "./fixtures/render-input.ts";
import { createTestStore } from "./fixtures/store-reader.ts";

const BASE = "https://mirror.example:9443";

async function withImages(t: Test) {
  const store = createTestStore(await shortDir(t));
  await store.put({ stream: "s", content: {}, catalog: { images: [imageOf("docker.io/library/redis:7")] } });
  return { store, url: BASE, dir: await shortDir(t) };
}

const refusal = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error) => ({ ...error, message: error.message, status: exitStatusOf(error) }),
  );

t.test("files with other content are refused, all of them by name, and nothing is written", async (t) => {
  const { store, url, dir } = await withImages(t);
  const etc = `${join(dir, "containers")}/`;
  await mkdir(join(etc, "registries.d"), { recursive: true });
  await writeFile(join(etc, "policy.json"), "the distribution's\n");
  const one = await refusal(render("image-policy", { store, url, out: etc }));
  t.match(one, { code: "ERR_USAGE", status: 2, hint: /--force/, path: join(etc, "policy.json") });
  t.strictSame(await readdir(join(etc, "registries.d")), [], "not the one that was free either");
  t.equal(await readFile(join(etc, "policy.json"), "utf8"), "the distribution's\n");

  await writeFile(join(etc, "registries.d/airferry.yaml"), "mine\n");
  const both = await refusal(render("image-policy", { store, url, out: etc }));
  t.strictSame(
    both.problems.map((it: { path: string }) => it.path),
    [join(etc, "policy.json"), join(etc, "registries.d/airferry.yaml")],
  );

  const written = await render("image-policy", { store, url, out: etc, force: true });
  for (const { file, text } of written) t.equal(await readFile(file as string, "utf8"), text);
});

t.test("members that docker's configuration has already stay", async (t) => {
  const { store, url, dir } = await withImages(t);
  const out = join(dir, "daemon.json");
  await writeFile(out, '{"data-root":"/srv/docker"}\n');
  t.match(await refusal(render("docker-daemon", { store, url, out })), { code: "ERR_USAGE", path: out });
  t.match(await readFile(out, "utf8"), "data-root");
});

t.test("the same content may be written again, and is left as it is", async (t) => {
  const { store, url, dir } = await withImages(t);
  const out = join(dir, "daemon.json");
  const [first] = await render("docker-daemon", { store, url, out });
  await chmod(out, 0o600);
  const { ino } = await stat(out);
  t.strictSame(await render("docker-daemon", { store, url, out }), [first]);
  t.match(await stat(out), { ino, mode: 0o100600 });
  t.match(await refusal(render("docker-daemon", { store, url: `${BASE}1`, out })), { code: "ERR_USAGE" });
});

t.test("what is no file is never replaced by one without a word", async (t) => {
  const { store, url, dir } = await withImages(t);
  const out = join(dir, "link");
  await symlink("/dev/null", out);
  t.match(await refusal(render("docker-daemon", { store, url, out })), { code: "ERR_USAGE", path: out });
});

t.test("a folder gets certs.d/ alone; the text by itself is for reading", async (t) => {
  const { store, url, dir } = await withImages(t);
  const paths = (await render("hosts-toml", { store, url })).map((it) => it.path);
  t.ok(paths.includes("hosts.toml"));
  const placed = await render("hosts-toml", { store, url, out: `${dir}/` });
  t.strictSame(
    placed.map((it) => it.path),
    paths.filter((it) => it !== "hosts.toml"),
  );
  t.strictSame(await readdir(dir), ["certs.d"]);
});
