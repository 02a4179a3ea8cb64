/** What is said of keys that the manifest does not have, and of versions that YAML reads as numbers. */
import t from "tap";
import type { AirferryError } from "../../src/errors.ts";
import { parseManifest } from "../../src/manifest/load.ts";
import { unknownKey } from "../../src/manifest/unknown-key.ts";

function problemsOf(text: string): string[] {
  try {
    parseManifest(`apiVersion: airferry/v1\nstream: s\n${text}`, "m.yaml");
    return [];
  } catch (error) {
    return (error as AirferryError).problems.map((it) => `${it.path}: ${it.message}`);
  }
}

t.test("unknownKey() names the key that was meant, the place where it belongs, or all known keys", async (t) => {
  for (const [key, path, expected] of [
    ["pacakges", ["rpms", 0], /did you mean packages\?/],
    ["repoGpgcheck", ["rpms", 0], /did you mean repo_gpgcheck\?/],
    ["repo-gpgcheck", ["rpms", 0], /did you mean repo_gpgcheck\?/],
    ["image", [], /did you mean images\?/],
    ["platforms", ["isos", 0], /unknown key here; it belongs to images:/],
    ["stream", ["files", 0], /belongs to the manifest itself/],
    ["checksum", ["files", 2], /did you mean checksums\?/],
    ["zzzz", ["files", 0], /expected one of url, urls, path, sha256/],
    // Names that every object has are not in the schema.
    ["constructor", ["files", 0], /expected one of url/],
    ["toString", [], /expected one of apiVersion/],
    ["__proto__", ["images", 0], /expected one of ref/],
  ] as const)
    t.match(unknownKey(key, path), expected, `${path.join(".")} ${key}`);
});

t.test("an unknown key is reported with its line", async (t) => {
  t.match(problemsOf("rpms:\n  - name: r\n    url: https://h.example/\n    gpgcheck: false\n    pacakges: [a]\n"), [
    /^m\.yaml:7 rpms\[0\]\.pacakges: unknown key: did you mean packages\?$/,
  ]);
});

t.test("versions of the builder that YAML reads as numbers are refused with the quotes they need", async (t) => {
  const builder = (line: string) => `builder:\n  flavor: spectro-capi\n  imageconfig:\n    ${line}\n`;
  t.match(problemsOf(builder("k8s_version: 1.30")), [
    /^m\.yaml:6 builder\.imageconfig\.k8s_version: is the number 1\.30, which YAML reads as 1\.3: write it in quotes: "1\.30"$/,
  ]);
  t.match(problemsOf(builder("kubernetes_series: 1.33")), [/is the number 1\.33: write it in quotes: "1\.33"$/]);
  t.match(problemsOf(builder("disk_size: 0x10")), [/is the number 0x10, which YAML reads as 16/]);
  t.match(problemsOf(builder("mark: 1e3")), [/which YAML reads as 1000/]);
  for (const fine of ['k8s_version: "1.30"', "k8s_version: 1.30.4", "disk_size: 20480", "release_version: 9"])
    t.strictSame(
      problemsOf(builder(fine)).filter((it) => it.includes("quotes")),
      [],
      fine,
    );
});
