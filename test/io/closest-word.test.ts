import t from "tap";
import { closestWord } from "../../src/io/closest-word.ts";

t.test("nearest() finds the word that was meant, and none where nothing is near", async (t) => {
  const known = ["packages", "exclude", "arch", "url", "urls", "repo_gpgcheck"];
  for (const [word, expected] of [
    ["pacakges", "packages"],
    ["Packages", "packages"],
    ["package", "packages"],
    ["exclud", "exclude"],
    ["ur", "url"],
    ["repo_gpgchek", "repo_gpgcheck"],
    ["acrh", "arch"],
    ["excl", "exclude"],
    ["repo", "repo_gpgcheck"],
    ["pa", undefined],
    ["colour", undefined],
    ["", undefined],
    ["x".repeat(1000), undefined],
  ] as const)
    t.equal(closestWord(word, known), expected, word);
  t.equal(closestWord("arch", []), undefined);
});
