/** scripts/build-image: the same bytes twice, and an image that serves a store as another user from a read-only root. */
import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import t from "tap";
import { VERSION } from "../../src/version.ts";
import { clientEnv, clientPath, needs } from "../fixtures/clients.ts";
import { builtFolder } from "../fixtures/executable.ts";
import { freePort } from "../fixtures/free-port.ts";
import { airferry } from "../fixtures/host.ts";
import { writeKeyPairs } from "../fixtures/keys.ts";
import { ROOT, scratch, writeManifest } from "../fixtures/program.ts";

const dir = scratch(t, "airferry-image");
const NAME = `localhost/airferry:${VERSION}`;
const env = clientEnv({ HOME: dir, LC_ALL: "C.UTF-8" });
const run = (program: string, ...args: string[]) =>
  spawnSync(clientPath(program) ?? program, args, { encoding: "utf8", env });

/** Makes the image of a build in a folder of its own, and returns it with its name. */
function imageIn(name: string, built: string): { out: string; file: string } {
  const out = join(dir, name);
  cpSync(built, out, { recursive: true });
  const given = { ...process.env, SOURCE_DATE_EPOCH: "1767225600" };
  execFileSync(join(ROOT, "scripts", "build-image"), ["--out", out], { stdio: "pipe", env: given });
  const file = readdirSync(out).find((it) => it.startsWith("airferry-image-")) ?? "";
  return { out, file: join(out, file) };
}

if (needs(t, "ldd", "dpkg-query", "tar") && process.getuid?.() === 0) {
  const { out, file } = imageIn("one", await builtFolder());

  t.test("a second image has the same bytes, and the sums cover it", async (t) => {
    const again = imageIn("two", await builtFolder());
    t.ok(readFileSync(again.file).equals(readFileSync(file)));
    t.equal(spawnSync("sha256sum", ["-c", "--quiet", "SHA256SUMS"], { cwd: out }).status, 0);
    t.match(readFileSync(join(out, "SHA256SUMS"), "utf8"), "airferry-image-");
  });

  t.test("skopeo reads it: who runs, what it needs, which libraries are in it", async (t) => {
    if (!needs(t, "skopeo")) return;
    const { stdout } = run("skopeo", "inspect", "--config", `oci-archive:${file}`);
    const config = JSON.parse(stdout);
    t.equal(config.config.User, "65532:65532");
    t.match(config.config.Labels["airferry.libraries"], /libc6=\S+ libgcc-s1=\S+ libstdc\+\+6=\S+/);
    t.equal(config.created, "2026-01-01T00:00:00Z");
    t.equal(run("skopeo", "copy", `oci-archive:${file}`, `dir:${join(dir, "copied")}`).status, 0);
    const layers = readdirSync(join(dir, "copied")).filter((it) => /^[0-9a-f]{64}$/.test(it));
    const inside = layers.map((it) => run("tar", "-tzf", join(dir, "copied", it)).stdout).join("");
    for (const it of [
      "doc/libc6/copyright",
      "common-licenses/GPL-3",
      "common-licenses/LGPL-2.1",
      "doc/airferry/THIRD-PARTY.txt",
    ])
      t.match(inside, `./usr/share/${it}\n`);
    t.equal(run("skopeo", "copy", `docker-archive:${file}`, `dir:${join(dir, "copied-2")}`).status, 0);
  });

  t.test("podman runs it on a store, with a read-only root and no capabilities", async (t) => {
    if (!needs(t, "podman", "runc", "curl")) return;
    const own = ["--storage-driver", "vfs", "--root", join(dir, "p/s"), "--runroot", join(dir, "p/r")];
    const podman = (...args: string[]) =>
      run("podman", ...own, "--cgroup-manager", "cgroupfs", "--runtime", "runc", ...args);
    const limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
    const hard = ["--read-only", "--cap-drop=all", "--security-opt=no-new-privileges"];
    const loaded = podman("load", "-q", "-i", file);
    t.equal(loaded.stdout.trim(), `Loaded image: ${NAME}`, loaded.stderr);
    t.equal(podman("run", "--rm", ...limits, ...hard, "--network=none", NAME, "--version").stdout.trim(), VERSION);
    writeFileSync(join(dir, "a.txt"), "carried\n");
    writeManifest(dir, { files: [{ path: "a.txt", as: "a.txt" }] });
    await writeKeyPairs(dir);
    const packed = await airferry(dir, ["pack", "m.yaml", "--key", "k.key"]);
    const bundle = packed.stdout.trim().split("\n").at(-1) as string;
    t.equal((await airferry(dir, ["unpack", bundle, "--trust", "k.pub", "--store", "store"])).status, 0);
    const port = await freePort();
    const listen = ["serve", "--listen", `127.0.0.1:${port}`];
    const volume = ["-v", `${join(dir, "store")}:/store:ro`, "--network=host"];
    const id = podman("run", "-d", ...limits, ...hard, ...volume, NAME, ...listen).stdout.trim();
    t.teardown(() => podman("rm", "-f", "-t", "0", id));
    const get = (path: string) => run("curl", "-fsS", `http://127.0.0.1:${port}${path}`);
    for (let tries = 0; tries < 100 && get("/healthz").status !== 0; tries++) await sleep(100);
    t.equal(get("/files/a.txt").stdout, "carried\n", podman("logs", id).stderr);
    t.match(podman("top", id, "user", "pid", "args").stdout, /^airferry +1 +\/usr\/bin\/airferry serve/m);
    t.equal(podman("stop", "-t", "20", id).status, 0);
    t.equal(podman("inspect", "--format", "{{.State.ExitCode}}", id).stdout.trim(), "0", "SIGTERM ends it in order");
  });
}
