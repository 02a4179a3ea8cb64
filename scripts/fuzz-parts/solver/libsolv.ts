/**
 * libsolv as the reference for closures: a python3-solv process that answers one question at a time. See libsolv.py.
 */
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const PYTHON = "/usr/bin/python3";

/** A question to libsolv about one universe. */
export interface Question {
  /** Jobs: of each list one package is to be installed. NEVRAs with epoch. */
  install: string[][];
  /** What it may see; undefined: all. */
  only?: string[];
}

interface Answer {
  ok: boolean;
  /** NEVRAs, sorted; a package that several repositories have counts once. */
  picked: string[];
}

/** Whether python3-solv is installed. */
export function hasLibsolv(): boolean {
  return spawnSync(PYTHON, ["-c", "import solv"]).status === 0;
}

/** One process, used for many universes, one after the other. The caller closes it. */
export class Libsolv {
  readonly #process: ChildProcessWithoutNullStreams;
  readonly #lines: AsyncIterator<string>;
  readonly #dir: string;

  constructor() {
    this.#process = spawn(PYTHON, [join(import.meta.dirname, "libsolv.py")]);
    this.#process.stderr.pipe(process.stderr);
    this.#lines = createInterface({ input: this.#process.stdout })[Symbol.asyncIterator]();
    this.#dir = mkdtempSync(join(tmpdir(), "airferry-libsolv-"));
  }

  /** Answers questions over repositories, given as their primary.xml documents. */
  async ask(primaries: readonly string[], recommends: boolean, questions: readonly Question[]): Promise<Answer[]> {
    const paths = primaries.map((xml, index) => {
      const path = join(this.#dir, `${index}.xml`);
      writeFileSync(path, xml);
      return path;
    });
    const asked = questions.map(({ install, only }) => ({ install, only: only ?? null }));
    this.#process.stdin.write(
      `${JSON.stringify({ arch: "x86_64", primaries: paths, recommends, questions: asked })}\n`,
    );
    const line = await this.#lines.next();
    if (line.done === true) throw new Error("libsolv.py has ended");
    return (JSON.parse(line.value) as { answers: Answer[] }).answers;
  }

  close(): void {
    this.#process.stdin.end();
    rmSync(this.#dir, { recursive: true, force: true });
  }
}
