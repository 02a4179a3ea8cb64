/**
 * README's session: runs each of its commands as a newcomer would paste them, and draws the terminal as an SVG file.
 * `scripts/still` and test/scripts/session.test.ts use it.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { freePort } from "../../test/fixtures/free-port.ts";

const root = resolve(import.meta.dirname, "../..");

/** A command of the session, as typed, and what it printed on both streams. */
interface Step {
  command: string;
  output: string;
}

/** The commands of all `console` blocks, in order; a heredoc is part of its command. */
export function commandsOf(markdown: string): string[] {
  const blocks = [...markdown.matchAll(/^```console\n([\s\S]*?)^```$/gm)].map(([, block]) => block ?? "");
  return blocks.flatMap((block) =>
    block
      .split(/^\$ /m)
      .slice(1)
      .map((command) => command.trimEnd()),
  );
}

/**
 * Runs the commands in one shell, in a copy of the checkout's README, so that nothing of the checkout changes. `serve`
 * runs beside the rest, as in a second terminal, on a free port in place of 9000.
 * @throws {Error} when a command fails, with all output so far
 */
export async function runSession(commands: readonly string[]): Promise<Step[]> {
  const folder = await mkdtemp(join(tmpdir(), "airferry-session-"));
  const port = await freePort();
  try {
    await cp(join(root, "README.md"), join(folder, "README.md"));
    const steps: Step[] = [];
    const shell = spawn("bash", ["-euo", "pipefail"], {
      cwd: folder,
      env: {
        ...process.env,
        PATH: `${join(root, "scripts")}:${process.env["PATH"]}`,
        AIRFERRY_PASSWORD: "session",
        AIRFERRY_CACHE: join(folder, ".cache"),
        AIRFERRY_NO_PROGRAM: "1",
      },
      stdio: ["pipe", "pipe", "inherit"],
    });
    let printed = "";
    shell.stdout.setEncoding("utf8").on("data", (text: string) => {
      printed += text;
    });
    const ended = once(shell, "exit");
    shell.stdin.write("exec 2>&1\ntrap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n");
    for (const [index, command] of commands.entries()) {
      const own = command
        .replaceAll(":9000", `:${port}`)
        .replace(/^(airferry serve [^#\n]*).*$/m, "$1 > serve.log 2>&1 &");
      const end = `--- ${index} ---`;
      const wait = command.startsWith("airferry serve")
        ? `\nfor i in $(seq 300); do grep -q 'stop with' serve.log && break; sleep 0.1; done; cat serve.log`
        : "";
      shell.stdin.write(`${own}${wait}\necho '${end}'\n`);
      while (!printed.includes(`${end}\n`)) {
        const status = await Promise.race([ended.then(([code]) => code), once(shell.stdout, "data").then(() => null)]);
        if (status !== null) throw new Error(`exit status ${status} of: ${command}\n${printed}`);
      }
      const [output, rest] = printed.split(`${end}\n`) as [string, string];
      printed = rest;
      steps.push({ command, output: shown(output.replaceAll(`:${port}`, ":9000")) });
    }
    shell.stdin.end();
    await ended;
    return steps;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** What a user other than root sees: the advice for root is left out. */
function shown(output: string): string {
  return output.replace(/^airferry: running as root.*\n/gm, "").trimEnd();
}

const COLUMNS = 110;
const LINE_HEIGHT = 17;
const MARGIN = 16;
const CHARACTER_WIDTH = 7.8;

/** The terminal as one self-contained SVG; `title` is what a screen reader says. */
export function drawn(steps: readonly Step[], title: string): string {
  const lines = steps.flatMap(({ command, output }) => [
    ...command
      .split("\n")
      .flatMap((line, at) => wrapped(at === 0 ? `$ ${line}` : line).map((it) => ["c", it] as const)),
    ...(output === "" ? [] : output.split("\n").flatMap((line) => wrapped(line).map((it) => ["o", it] as const))),
  ]);
  const height = lines.length * LINE_HEIGHT + 2 * MARGIN;
  const width = Math.ceil(COLUMNS * CHARACTER_WIDTH) + 2 * MARGIN;
  const rows = lines.map(
    ([kind, line], at) =>
      `<text class="${kind}" x="${MARGIN}" y="${MARGIN + (at + 1) * LINE_HEIGHT - 4}">${escaped(line)}</text>`,
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">
<title>${escaped(title)}</title>
<style>text{white-space:pre;font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:#c9d1d9}.c{fill:#7ee787;font-weight:600}</style>
<rect width="100%" height="100%" rx="8" fill="#0d1117"/>
${rows.join("\n")}
</svg>
`;
}

function wrapped(line: string): string[] {
  return line.match(new RegExp(`.{1,${COLUMNS}}`, "gu")) ?? [""];
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

if (process.argv[1] === import.meta.filename) {
  const [file = join(root, "docs/session.svg")] = process.argv.slice(2);
  if (file === "--help" || file === "-h") {
    process.stdout.write("scripts/still [FILE.svg]: runs README's session and draws it (default: docs/session.svg)\n");
  } else {
    const steps = await runSession(commandsOf(await readFile(join(root, "README.md"), "utf8")));
    await writeFile(file, drawn(steps, "airferry: from a manifest to served content"));
    process.stdout.write(`${file}\n`);
  }
}
