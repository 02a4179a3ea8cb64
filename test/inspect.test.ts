/** What `inspect` says of a media check that is embedded in an ISO. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import t from "tap";
import { airferry } from "../scripts/rehearsal-parts/pack-ready.ts";
import { needs } from "./fixtures/clients.ts";
import { shortDir, xorriso } from "./fixtures/el-dvd.ts";

t.test("inspect reports it, as information", async (t) => {
  if (!needs(t, "xorriso", "implantisomd5", "checkisomd5")) return;
  const dir = await shortDir(t);
  execFileSync("mkdir", ["-p", join(dir, "tree")]);
  execFileSync("sh", ["-c", `head -c 300000 /dev/urandom > ${dir}/tree/a`]);
  await xorriso(join(dir, "tree"), join(dir, "with.iso"));
  await xorriso(join(dir, "tree"), join(dir, "without.iso"));
  execFileSync("implantisomd5", [join(dir, "with.iso")], { stdio: "ignore" });
  const sum = /([0-9a-f]{32})/.exec(
    execFileSync("checkisomd5", ["--md5sumonly", join(dir, "with.iso")]).toString(),
  )![1]!;
  const manifest = [
    "apiVersion: airferry/v1",
    "stream: s",
    "isos:",
    "  - { name: with, path: with.iso }",
    "  - { name: without, path: without.iso }",
    "",
  ];
  execFileSync("sh", ["-c", 'printf "%s\\n" "$@" > s.yaml', "sh", ...manifest], { cwd: dir });
  const bundle = (await airferry(dir, "pack", "s.yaml", "--unsigned")).trim().split("\n").at(-1)!;
  const report = JSON.parse(await airferry(dir, "inspect", bundle, "--json")) as { mediaChecks: unknown };
  t.strictSame(report.mediaChecks, [{ path: "isos/with.iso", md5: sum, supported: false }]);
  t.match(await airferry(dir, "inspect", bundle), `isos/with.iso has an embedded MD5 ${sum}`);
});
