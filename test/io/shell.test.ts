/** Commands that are printed for people: quoted as a shell reads them, with the manifest's own name in them. */
import { execFileSync } from "node:child_process";
import t from "tap";
import { shellWord, shellWords, withManifestName } from "../../src/io/shell.ts";

t.test("shellWord() quotes what needs it, and a shell reads every word back as it was", async (t) => {
  for (const plain of ["a", "m.yaml", "/srv/x-1_2", "host:5000/a@sha256:0", "a=b,c+d%20"])
    t.equal(shellWord(plain), plain);
  const odd = [
    "",
    "a b",
    "it's",
    "'",
    "$HOME",
    "`id`",
    "a\\b",
    'say "x"',
    "*",
    "~",
    "a;b",
    "a&b",
    "#x",
    "ü",
    "a\nb",
    "!x",
    "(a)",
  ];
  for (const word of odd) t.match(shellWord(word), /^'/, JSON.stringify(word));
  const read = execFileSync("sh", ["-c", `printf '%s\\0' ${shellWords(odd)}`], { encoding: "utf8" });
  t.strictSame(read.split("\0").slice(0, -1), odd);
});

t.test("withManifestName() fills in the manifest where a command takes one, and nowhere else", async (t) => {
  for (const [text, expected] of [
    ["run: airferry lock MANIFEST --update a", "run: airferry lock 'my m.yaml' --update a"],
    [
      "airferry plan MANIFEST lists it; airferry pack MANIFEST",
      "airferry plan 'my m.yaml' lists it; airferry pack 'my m.yaml'",
    ],
    ["a file MANIFEST.MF, airferry lock MANIFESTS", "a file MANIFEST.MF, airferry lock MANIFESTS"],
    ["airferry verify BUNDLE", "airferry verify BUNDLE"],
  ] as const)
    t.equal(withManifestName(text, "my m.yaml"), expected);
  t.equal(withManifestName("airferry lock MANIFEST", "$&.yaml"), "airferry lock '$&.yaml'");
});
