import t from "tap";
import { mayBeMissing } from "../src/rehearse.ts";
import { scratch, start } from "./fixtures/program.ts";

t.test("an empty word is no bundle and no command: rehearse itself says so", async (t) => {
  const dir = scratch(t);
  const rehearse = (...args: string[]) => start(dir, ["rehearse", ...args]).done;
  const bundle = await rehearse("", "--trust", "k.pub", "--", "true");
  t.equal(bundle.status, 2);
  t.match(bundle.stderr, /^airferry: error: cannot rehearse: the name of a bundle is empty\n/);
  const command = await rehearse("b", "--trust", "k.pub", "--", "");
  t.equal(command.status, 2);
  t.match(command.stderr, "cannot rehearse: no command\nairferry: hint: airferry rehearse b --trust KEY -- COMMAND\n");
});

t.test("mayBeMissing() takes URLs, their hosts and hosts without a URL", async (t) => {
  for (const [glob, what, expected] of [
    ["https://x.test/**", "https://x.test/a/b", true],
    ["https://x.test/**", "https://x.test/.well-known/a?b=/.c", true],
    ["https://x.test/**", "x.test", true, "the build asked for its address only"],
    ["http://x.test/**", "x.test", true],
    ["https://x.test/a", "x.test", false],
    ["https://x.test/**", "y.test", false],
    ["https://x.test/**", "https://x.test.evil/a", false],
    ["https://x.test/*", "https://x.test/a/b", false],
    ["https://x.test/a[1]?b=(c)", "https://x.test/a[1]?b=(c)", true],
    ["https://x.test/a?b", "https://x.test/acb", false],
    ["x.test", "https://x.test/a", true],
    ["*.test", "x.test", true],
    ["x.test", "xatest", false],
    ["x.test", "a://[", false, "a name that a build made up"],
  ] as const)
    t.equal(mayBeMissing(what, glob), expected, `${glob} ${what}`);
});
