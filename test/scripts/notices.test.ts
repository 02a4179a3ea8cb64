/** What has to go with the program: the licenses of everything that is in it, as it is installed. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { thirdParty } from "../../scripts/lib/notices.ts";
import { ROOT } from "../fixtures/program.ts";

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
