/** What the rehearsal removes from a staged folder to prove that its rows detect it, and which rows must then fail. */
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Build } from "./builds.ts";

interface Control {
  /** `the guest scripts`. */
  name: string;
  flavor: Build["flavor"];
  /** Names of the rows that must fail; no other may. */
  fails: RegExp;
  remove(staged: string): void;
}

export const CONTROLS: readonly Control[] = [
  {
    name: "the guest scripts (custom_scripts/pre)",
    flavor: "spectro-capi",
    fails: /^the guest pulls the control plane/,
    remove: (staged) => rmSync(join(staged, "custom_scripts/pre"), { recursive: true }),
  },
  {
    name: "their undoing (custom_scripts/post)",
    flavor: "spectro-capi",
    fails: /^nothing of the gap stays/,
    remove: (staged) => rmSync(join(staged, "custom_scripts/post"), { recursive: true }),
  },
  {
    name: "the password",
    flavor: "spectro-capi",
    fails: /packer logs in/,
    remove: (staged) => edit(join(staged, "ks.cfg"), (text) => text.replace(/--password=\S+/, "--password=another")),
  },
  {
    name: "the password in the variables",
    flavor: "image-builder",
    fails: /packer logs in/,
    remove: (staged) => removeVariables(staged, /^ssh_/),
  },
  {
    name: "the boot command",
    flavor: "image-builder",
    fails: /the boot command finds it/,
    remove: (staged) => removeVariables(staged, /^(boot_|cd_|http_directory)/),
  },
];

function removeVariables(staged: string, names: RegExp): void {
  edit(join(staged, "packer-vars.json"), (text) =>
    JSON.stringify(Object.fromEntries(Object.entries(JSON.parse(text)).filter(([name]) => !names.test(name)))),
  );
}

function edit(file: string, change: (text: string) => string): void {
  const text = existsSync(file) ? readFileSync(file, "utf8") : "";
  const changed = change(text);
  if (changed === text) throw new Error(`nothing to remove in ${file}`);
  writeFileSync(file, changed);
}
