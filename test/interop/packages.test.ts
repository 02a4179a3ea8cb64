/** scripts/build-packages and packaging/Containerfile: the same bytes twice, installed into roots with only the C and C++ libraries. */
import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import t from "tap";
import { cliDocs } from "../../scripts/lib/cli-docs.ts";
import { VERSION } from "../../src/version.ts";
import { clientEnv, clientPath, needs } from "../fixtures/clients.ts";
import { builtFolder, programIn, putLibraries } from "../fixtures/executable.ts";
import { ROOT, scratch } from "../fixtures/program.ts";

const dir = scratch(t, "airferry-packages");
const run = (program: string, ...args: string[]) =>
  spawnSync(clientPath(program) ?? program, args, {
    encoding: "utf8",
    env: clientEnv({ HOME: dir, LC_ALL: "C.UTF-8" }),
  });

/** Makes the packages of a build in a folder of its own, and returns it with their names. */
function packagesIn(name: string, built: string): { out: string; rpm: string; deb: string } {
  const out = join(dir, name);
  cpSync(built, out, { recursive: true });
  const env = { ...process.env, SOURCE_DATE_EPOCH: "1767225600" };
  execFileSync(join(ROOT, "scripts", "build-packages"), ["--out", out], { stdio: "pipe", env });
  const made = readdirSync(out).sort();
  const ending = (it: string) => made.filter((name) => name.endsWith(it));
  const [[rpm = ""], [deb = ""]] = [ending(".rpm"), ending(".deb")];
  return { out, rpm, deb };
}

if (needs(t, "rpmbuild", "rpm", "dpkg-deb", "dpkg", "chroot", "ldd") && process.getuid?.() === 0) {
  const { out, rpm, deb } = packagesIn("one", await builtFolder());
  /** The program as installed, in a root with nothing but libraries. */
  const version = (root: string) => {
    putLibraries(join(root, "usr/bin/airferry"), root);
    return run("chroot", root, "/usr/bin/airferry", "--version").stdout;
  };

  t.test("a second build has the same bytes, and the sums cover the packages", async (t) => {
    const again = packagesIn("two", await builtFolder());
    for (const name of [rpm, deb]) {
      t.ok(readFileSync(join(again.out, name)).equals(readFileSync(join(out, name))), name);
      t.match(readFileSync(join(out, "SHA256SUMS"), "utf8"), name);
    }
    t.equal(spawnSync("sha256sum", ["-c", "--quiet", "SHA256SUMS"], { cwd: out }).status, 0);
    t.equal(rpm, `airferry-${VERSION.replace("-", "~")}-1.${process.arch === "x64" ? "x86_64" : "aarch64"}.rpm`);
  });

  t.test("rpm installs it into an empty root, where it starts and verifies", async (t) => {
    const root = join(dir, "rpm-root");
    mkdirSync(root);
    // Needs are met by files: this root has no packages.
    const installed = run("rpm", "--root", root, "--nodeps", "--nosignature", "-i", join(out, rpm));
    t.equal(installed.status, 0, installed.stderr);
    t.equal(version(root), `${VERSION}\n`);
    t.equal(run("rpm", "--root", root, "--nodeps", "-V", "airferry").stdout, "", "nothing differs from the package");
    t.ok(readFileSync(join(root, "usr/bin/airferry")).equals(readFileSync(programIn(out))), "not stripped by rpmbuild");
    t.match(run("rpm", "-qp", "--requires", join(out, rpm)).stdout, /^glibc >= 2\.28\nlibgcc\nlibstdc\+\+$/m);
  });

  t.test("dpkg installs it into an empty root, where it starts", async (t) => {
    const root = join(dir, "deb-root");
    for (const name of ["info", "updates"]) mkdirSync(join(root, "var/lib/dpkg", name), { recursive: true });
    writeFileSync(join(root, "var/lib/dpkg/status"), "");
    const installed = run("dpkg", `--root=${root}`, "--force-depends", "-i", join(out, deb));
    t.equal(installed.status, 0, installed.stderr);
    t.equal(version(root), `${VERSION}\n`);
    t.equal(run("dpkg", `--root=${root}`, "-V", "airferry").stdout, "");
    for (const name of ["LICENSE", "NOTICE", "THIRD-PARTY.txt", "airferry.cdx.json"]) {
      t.ok(existsSync(join(root, "usr/share/doc/airferry", name)), name);
    }
    t.equal(statSync(join(root, "usr/bin/airferry")).mode & 0o777, 0o755);
  });

  t.test("a manual page for each command, with every option of its help", async (t) => {
    const root = join(dir, "deb-root");
    const pages = readdirSync(join(root, "usr/share/man/man1")).sort();
    const help = await cliDocs();
    const commands = [...help.matchAll(/^## airferry (\S+)$/gm)].map(([, name]) => `airferry-${name}.1.gz`);
    t.strictSame(pages, ["airferry.1.gz", ...commands].sort());
    const pack = gunzipSync(readFileSync(join(root, "usr/share/man/man1/airferry-pack.1.gz"))).toString();
    for (const option of ["volume\\-size", "no\\-program", "allow\\-findings"]) t.match(pack, `\n.B \\-\\-${option}`);
    t.match(pack, /^\.SH EXIT STATUS$/m);
    if (!needs(t, "man")) return;
    for (const page of pages) {
      const shown = run("man", "--warnings=w", "-l", join(root, "usr/share/man/man1", page));
      t.strictSame([shown.status, shown.stderr], [0, ""], page);
    }
  });

  t.test("the unit runs the installed program, and is the one of serve --print-unit", async (t) => {
    const unit = readFileSync(join(dir, "rpm-root", "usr/lib/systemd/system/airferry.service"), "utf8");
    t.match(unit, /^ExecStart=\/usr\/bin\/airferry serve --store \/srv\/airferry --listen 0\.0\.0\.0:9000 --tls off$/m);
    const args = ["serve", "--store", "/srv/airferry", "--listen", "0.0.0.0:9000", "--print-unit"];
    const printed = spawnSync("chroot", [join(dir, "rpm-root"), "/usr/bin/airferry", ...args], {
      encoding: "utf8",
      env: clientEnv(),
    });
    t.equal(printed.stdout, unit, printed.stderr);
  });

  t.test("the shells' completion is where shells look for it", async (t) => {
    const root = join(dir, "deb-root");
    const file = join(root, "usr/share/bash-completion/completions/airferry");
    t.equal(spawnSync("bash", ["-n", file]).status, 0);
    t.match(readFileSync(file, "utf8"), /^complete /m);
    for (const it of ["zsh/site-functions/_airferry", "fish/vendor_completions.d/airferry.fish"]) {
      t.ok(statSync(join(root, "usr/share", it)).size > 0, it);
    }
  });

  t.test("the container image, on a base with only libraries", async (t) => {
    if (!needs(t, "podman", "buildah", "runc")) return;
    const base = join(dir, "base");
    mkdirSync(base);
    putLibraries(programIn(out), base);
    execFileSync("tar", ["-C", base, "-cf", join(dir, "base.tar"), "."]);
    const own = ["--storage-driver", "vfs", "--root", join(dir, "p/s"), "--runroot", join(dir, "p/r")];
    const podman = (...args: string[]) =>
      run("podman", ...own, "--cgroup-manager", "cgroupfs", "--runtime", "runc", ...args);
    const imported = podman("import", join(dir, "base.tar"), "localhost/base:1");
    t.equal(imported.status, 0, imported.stderr);
    const recipe = join(ROOT, "packaging/Containerfile");
    const args = ["--build-arg", "BASE=localhost/base:1", "--build-arg", `PROGRAM=airferry-linux-${process.arch}`];
    const built = podman(
      "build",
      "--pull=never",
      "--isolation",
      "chroot",
      "-t",
      "airferry",
      "-f",
      recipe,
      ...args,
      out,
    );
    t.equal(built.status, 0, built.stderr);
    const limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--network=none"];
    const ran = podman("run", "--rm", ...limits, "airferry", "--version");
    t.strictSame([ran.status, ran.stdout], [0, `${VERSION}\n`], ran.stderr);
  });
}
