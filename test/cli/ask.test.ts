/** src/cli/ask.ts: `airferry init` on a real terminal, which util-linux's `script` makes. */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";

const bin = join(import.meta.dirname, "../../src/bin.ts");

/** Runs `airferry ARGS` on a terminal, and types each answer after its question was shown. */
async function onTerminal(
  cwd: string,
  args: string,
  dialogue: readonly (readonly [question: RegExp, answer: string])[],
) {
  const child = spawn("script", ["-qec", `${process.execPath} ${bin} ${args}`, "/dev/null"], {
    cwd,
    stdio: ["pipe", "pipe", "inherit"],
    env: { ...process.env, TERM: "xterm" },
  });
  let screen = "";
  let from = 0;
  const left = [...dialogue];
  child.stdout.setEncoding("utf8").on("data", (part: string) => {
    screen += part;
    for (;;) {
      const [next] = left;
      const found = next?.[0].exec(screen.slice(from));
      if (next === undefined || !found) return;
      from += found.index + found[0].length;
      left.shift();
      child.stdin.write(next[1]);
    }
  });
  const status = await new Promise<number | null>((resolve) => child.on("close", resolve));
  return { status, screen, unasked: left.length };
}

t.test("asks, shows what it will write, and writes after a yes", async (t) => {
  const dir = t.testdir();
  const { status, screen, unasked } = await onTerminal(dir, "init", [
    [/Number or name \[rocky-9-capi\]: /, "rocky-77\r"],
    [/a number from 1 to 6, or a name, is needed[\s\S]*Number or name \[rocky-9-capi\]: /, "rocky-9-capi\r"],
    [/Kubernetes version [\s\S]*\[1\.29\.4\]: /, "1.28.9\r"],
    [/vCenter server [\s\S]*: /, "vc.lab\r"],
    [/Name of the stream[\s\S]*: /, "\r"],
    [/Folder to write into \[\.\]: /, "site\r"],
    [/Write site\/rocky-9-capi\.yaml\? \[yes\]: /, "\r"],
  ]);
  t.equal(status, 0, screen);
  t.equal(unasked, 0, screen);
  t.match(
    screen,
    /Red Hat Enterprise Linux 9 images with Kubernetes for\s+VMware vSphere\r\n/,
    "descriptions are whole",
  );
  t.match(screen, /RPM repositories: kubernetes, baseos, appstream, epel/);
  t.match(screen, /next: airferry plan site\/rocky-9-capi\.yaml/);
  const text = await readFile(join(dir, "site/rocky-9-capi.yaml"), "utf8");
  t.match(text, /k8s_version: 1\.28\.9/);
  t.match(text, /vcenter_server: "?vc\.lab/);
});

t.test("writes nothing after a no, Ctrl-D or Ctrl-C", async (t) => {
  const dir = t.testdir();
  const no = await onTerminal(dir, "init", [
    [/Number or name .*: /, "starter\r"],
    [/Name of the stream[\s\S]*: /, "\r"],
    [/Folder to write into .*: /, "\r"],
    [/Write starter\.yaml\? .*: /, "no\r"],
  ]);
  t.equal(no.status, 130, no.screen);
  t.match(no.screen, /nothing was written/);
  const ended = await onTerminal(dir, "init", [[/Number or name .*: /, "\u0004"]]);
  t.equal(ended.status, 2, ended.screen);
  t.match(ended.screen, /the input ended before all questions were answered/);
  const interrupted = await onTerminal(dir, "init", [[/Number or name .*: /, "\u0003"]]);
  t.equal(interrupted.status, 130, interrupted.screen);
  t.strictSame(await readdir(dir), []);
});

t.test("asks nothing with --for, --json or --quiet, nor without a terminal", async (t) => {
  const dir = t.testdir();
  t.equal((await onTerminal(dir, "init a --for rocky-8-capi", [])).status, 0);
  t.equal((await onTerminal(dir, "init b --json", [])).status, 0);
  t.equal((await onTerminal(dir, "init c -q", [])).status, 0);
  for (const file of ["a/rocky-8-capi.yaml", "b/starter.yaml", "c/starter.yaml"])
    t.ok(existsSync(join(dir, file)), file);
});
