/** What has to go with the program: the licenses of everything that is in it, as it is installed. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { packages, thirdParty } from "../../scripts/lib/notices.ts";
import { ROOT } from "../fixtures/program.ts";

/** What the text of a license has in it. */
const WORDS: [id: string, words: RegExp][] = [
  ["MIT", /Permission is hereby granted, free of charge/],
  ["ISC", /Permission to use, copy, modify, and\/or distribute this software/],
  ["0BSD", /Permission to use, copy, modify, and\/or distribute this software/],
  ["Apache-2.0", /TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION/],
  ["BSD", /Redistribution and use in source and binary forms/],
  ["LGPL-3.0", /GNU LESSER GENERAL PUBLIC LICENSE/],
  ["CC0-1.0", /CC0 1\.0 Universal[\s\S]*Waiver/],
  ["CC-BY-3.0", /Attribution 3\.0 Unported[\s\S]*Fair Dealing Rights/],
  ["BlueOak-1.0.0", /Blue Oak Model License/],
];

t.test("thirdParty() has every package that the program imports, with the text of its license", async (t) => {
  const text = thirdParty();
  const { dependencies, devDependencies } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
  const listed = [...text.matchAll(/^ {2}(\S+) [0-9]\S*: (.+)$/gm)].map(([, name]) => name as string);
  t.same(
    Object.keys(dependencies).filter((it) => !listed.includes(it)),
    [],
    "all are there",
  );
  t.ok(listed.length > Object.keys(dependencies).length, "and what they depend on");
  t.same(
    Object.keys(devDependencies).filter((it) => listed.includes(it)),
    [],
    "tools are not in the program",
  );
  for (const { name, license, texts } of packages()) {
    const words = WORDS.find(([id]) => license.includes(id))?.[1];
    if (words === undefined) t.fail(`${name}: add the first words of ${license} here`);
    else t.ok(words.test(texts.join("\n")), `${name} has the text of ${license}`);
  }
  t.match(text, /\nopenpgp [0-9.]+ \(LGPL-3.0\+\)\n=+\n\s*GNU LESSER GENERAL PUBLIC LICENSE/);
  t.match(text, /TERMS AND CONDITIONS\n[\s\S]*How to Apply These Terms/, "the LGPL adds to the GPL");
  t.match(text, /Node\.js is licensed for use as follows/);
});

t.test("NOTICE names each package that asks for more than its license's text", async (t) => {
  const notice = readFileSync(join(ROOT, "NOTICE"), "utf8");
  const copyleft = [...thirdParty().matchAll(/^ {2}(\S+) [0-9]\S*: .*(?:GPL|MPL|EPL|CDDL).*$/gm)].map(
    ([, name]) => name,
  );
  t.strictSame(copyleft, ["openpgp"]);
  for (const name of copyleft) t.match(notice, name as string);
});
