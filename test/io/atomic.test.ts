import t from "tap";
import { AirferryError } from "../../src/errors.ts";
import { ioError } from "../../src/io/atomic.ts";

t.test("ioError() says what helps, by the system's code", async (t) => {
  const hints = new Map([
    ["EACCES", /permissions/],
    ["EPERM", /permissions/],
    ["EROFS", /read-write/],
    ["ENOSPC", /^free some space and run the same command again$/],
    ["EDQUOT", /^free some space/],
  ]);
  for (const [code, hint] of hints) {
    t.match(ioError("write", "x", Object.assign(new Error(`${code}: no`), { code })), { hint, path: "x" }, code);
  }
  t.equal(ioError("write", "x", Object.assign(new Error("EIO: i/o error"), { code: "EIO" })).hint, undefined);
  const own = new AirferryError("ERR_BUSY", "cannot x");
  t.equal(ioError("write", "x", own), own);
});
