/** The scripts of `airferry completion` in the shells that they are for. */
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { clientEnv, needs } from "../fixtures/clients.ts";
import { airferry } from "../fixtures/host.ts";
import { storeOfImages } from "../fixtures/image-store.ts";
import { TestImages } from "../fixtures/images.ts";
import { CHECKOUT, scratch } from "../fixtures/program.ts";
import { openTerminal } from "../fixtures/terminal.ts";

const dir = scratch(t);
const images = new TestImages();
const image = images.image("linux/amd64", [{ "etc/motd": "hello\n" }]);
const names = { "registry.k8s.io/pause:3.9": image, "registry.k8s.io/pause:3.10": image };
await storeOfImages(dir, images, names);
mkdirSync(join(dir, "sub folder"));
writeFileSync(join(dir, "my key.pub"), "");
writeFileSync(
  join(dir, "site.yaml"),
  "apiVersion: airferry/v1\nstream: s\nrpms:\n  - name: kubernetes\nfiles:\n  - path: ./a/tool.tgz\n  - url: 7\nimages: [{ ref: example.com/x:1 }, 3]\n",
);
mkdirSync(join(dir, "bin"));
const program = join(dir, "bin", "airferry");
writeFileSync(program, `#!/bin/sh\nexec ${CHECKOUT.map((it) => `'${it}'`).join(" ")} "$@"\n`);
chmodSync(program, 0o755);
for (const shell of ["bash", "zsh", "fish"]) {
  const { stdout, stderr, status } = await airferry(dir, ["completion", shell]);
  if (status !== 0) throw new Error(stderr);
  writeFileSync(join(dir, `airferry.${shell}`), stdout);
}
const env = { PATH: `${join(dir, "bin")}:${process.env.PATH}`, HOME: dir };

/** What is typed before Tab, and the words that are offered then: in every shell. */
const ROWS: [typed: string, ...words: string[]][] = [
  ["airferry unp", "unpack"],
  ["airferry pu", "publish"],
  ["airferry help pu", "publish"],
  ["airferry pack si", "site.yaml"],
  ["airferry pack site.yaml --frozen --volu", "--volume-size"],
  ["airferry pack site.yaml --volume-size dvd-", "dvd-dl"],
  ["airferry pack site.yaml --volume-size bd", "bd100", "bd25", "bd50"],
  ["airferry verify sub", "sub folder/"],
  ["airferry verify x --trust store my", "my key.pub"],
  ["airferry verify x --trust a b --part", "--partial"],
  ["airferry render k", "k3s-registries", "kickstart"],
  ["airferry init --for starte", "starter"],
  ["airferry lock site.yaml --update ", "example.com/x:1", "kubernetes", "tool.tgz"],
  ["airferry lock site.yaml --update kubernetes to", "tool.tgz"],
  ["airferry export im", "image"],
  ["airferry export image --store store registry.k8s.io/p", "registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.9"],
  ["airferry export image --store store registry.k8s.io/pause:3.1", "registry.k8s.io/pause:3.10"],
  ["airferry render repo --store=store --stream ", "test"],
  ["airferry diff --store store te", "test", "test-000001"],
];

const escaped = (text: string) => text.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");

for (const [shell, start, setUp] of [
  [
    "bash",
    "bash --norc --noprofile -i",
    "alias airferry='bin/airferry'; bind 'set show-all-if-ambiguous on'; source airferry.bash",
  ],
  ["zsh", "zsh -f -i", "unsetopt list_ambiguous; autoload -U compinit; compinit -D -u; source ./airferry.zsh"],
] as const) {
  t.test(`${shell} completes verbs, flags and their values`, async (t) => {
    if (!needs(t, "tmux", shell)) return;
    const terminal = await openTerminal(t, start, { cwd: dir, env, columns: 120 });
    await terminal.type(`PS1='> '; ${setUp}; echo re''ady`);
    await terminal.press("Enter");
    t.match(await terminal.until(/^ready$/m), /^ready$/m);
    for (const [typed, ...words] of ROWS) {
      await terminal.press("C-c");
      await terminal.type("clear");
      await terminal.press("Enter");
      await terminal.until(/^>$/);
      await terminal.type(typed);
      await terminal.press("Tab");
      const [word] = words;
      const before = typed.replace(/\S*$/, "");
      // Several are listed, by bash without what stands before a colon; one is put into the line.
      const shown =
        words.length > 1
          ? new RegExp(words.map((it) => `(?=[^]*\\b${escaped(it.replace(/^.*:/, ""))})`).join(""))
          : new RegExp(`^> ${escaped(before + (word as string).replaceAll(" ", "\\ "))}(?: |=|$)`, "m");
      t.match(await terminal.until(shown), shown, typed);
    }
  });
}

t.test("fish completes verbs, flags and their values", async (t) => {
  if (!needs(t, "fish")) return;
  const lines = ["source airferry.fish", ...ROWS.map(([typed]) => `complete -C '${typed}'; echo ==`)];
  const found = execFileSync("fish", ["--no-config", "-c", lines.join("\n")], {
    cwd: dir,
    env: clientEnv(env),
    encoding: "utf8",
  });
  const parts = found.split(/^==\n/m);
  for (const [index, [typed, ...words]] of ROWS.entries()) {
    const offered = (parts[index] as string).split("\n").flatMap((it) => it.split("\t").slice(0, 1));
    t.strictSame(offered.filter((it) => it !== "").sort(), [...words].sort(), typed);
  }
});

t.test("airferry complete says nothing of what it cannot read, and asks nothing", async (t) => {
  writeFileSync(join(dir, "broken.yaml"), "isos: [\n");
  writeFileSync(join(dir, "evil.yaml"), 'rpms: [{ name: "a\\nb" }, { name: "\\e[31mred" }, { name: good }]\n');
  execFileSync("mkfifo", [join(dir, "pipe.yaml")]);
  symlinkSync("evil.yaml", join(dir, "link.yaml"));
  const rows: [args: string[], names: string][] = [
    [["entries", "--", "lock", "pipe.yaml"], ""],
    [["entries", "--", "lock", "link.yaml"], "good\n"],
    [["images", "--", "export", "image", "--store", "nowhere"], ""],
    [["images", "--", "export", "image"], ""],
    [["images", "--", "export", "", "--store", "store"], "registry.k8s.io/pause:3.10\nregistry.k8s.io/pause:3.9\n"],
    [["streams", "--", "render", "--store=store"], "test\n"],
    [["streams", "--", "render", "--store", "~/store"], "test\n"],
    [["releases", "--", "diff", "--store", "store"], "test\ntest-000001\n"],
    [["entries", "--", "lock", "nowhere.yaml"], ""],
    [["entries", "--", "lock", "broken.yaml"], ""],
    [["entries", "--", "lock", "evil.yaml"], "good\n"],
    [["nonsense", "--"], ""],
  ];
  for (const [args, names] of rows) {
    const ran = await airferry(dir, ["complete", ...args], { HOME: dir });
    t.strictSame([ran.status, ran.stdout, ran.stderr], [0, names, ""], args.join(" "));
  }
  const named = await airferry(dir, ["complete", "streams", "--", "render"], { AIRFERRY_STORE: "store" });
  t.equal(named.stdout, "test\n", "AIRFERRY_STORE names the store");
});

t.test("a hidden verb is in no help", async (t) => {
  const { stdout } = await airferry(dir, ["--help"]);
  t.match(stdout, /^ {2}completion /m);
  t.notMatch(stdout, /^ {2}complete /m);
});
