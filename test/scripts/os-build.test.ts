/**
 * scripts/os-build el: a whole system is built from bundles alone, and boots. Of the two systems it is the shorter one.
 * The only test file that may take longer than a minute: what it shows, no part of it shows.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { absent, clientEnv, needs } from "../fixtures/clients.ts";
import { ROOT, scratch } from "../fixtures/program.ts";

const PROGRAMS =
  "dnf rpm rpmbuild createrepo_c gpg xorriso openssl nginx curl mke2fs qemu-system-x86_64 unshare ip sfdisk dpkg-deb";
const script = join(ROOT, "scripts/os-build");

t.test("a system built inside is the one built outside, and asks for a login", async (t) => {
  if (process.getuid?.() !== 0) return absent(t, "root");
  if (!needs(t, ...PROGRAMS.split(" "))) return;
  if (!existsSync(join(ROOT, ".cache/clients/minel-debs/.of")))
    return absent(t, "what scripts/lib/minel-debs.sh downloads");
  if (spawnSync("unshare", ["--net", "--mount", "--pid", "--fork", "true"]).status !== 0)
    return t.pass("a system", { skip: "no namespaces here" });
  const TMPDIR = scratch(t, "os-build");
  const env = clientEnv({ TMPDIR });
  // tap's loaders belong to the test process.
  delete env.NODE_OPTIONS;
  const ran = spawnSync(script, ["el"], { env, encoding: "utf8", timeout: 280_000 });
  t.equal(ran.status, 0, `${ran.error ?? ""}${ran.stdout}${ran.stderr}`);
  t.match(ran.stdout, /built again from the recording: \d\d packages, the same as outside/);
  t.match(ran.stdout, /built twice from them: under upstream's name, from the DVD/);
  t.match(ran.stdout, /booted to: minel login:/);
  t.same(readdirSync(TMPDIR), [], "nothing is left");
});

t.test("it says what it knows", async (t) => {
  const bad = spawnSync(script, ["fedora"], { encoding: "utf8" });
  t.match(bad, { status: 2, stderr: /unknown argument "fedora": expected debian, el or --keep/ });
  const help = spawnSync(script, ["--help"], { encoding: "utf8" });
  t.match(help, { status: 0, stdout: /^Builds operating systems from bundles alone[\s\S]*^debian [\s\S]*^el /m });
});
