/** Request targets: what is made of odd ones, and what is refused. */
import t from "tap";
import { parseTarget } from "../../../src/server/http/request-target.ts";

t.test("parseTarget() resolves what honest clients send", async (t) => {
  const cases = new Map<string, string>([
    ["/", "/"],
    ["/rpms/x/a+b-1.rpm", "/rpms/x/a+b-1.rpm"],
    ["/rpms/x/a%2Bb-1.rpm", "/rpms/x/a+b-1.rpm"],
    ["/rpms/x/a%2bb%5e1%7E2.rpm", "/rpms/x/a+b^1~2.rpm"],
    ["//.treeinfo", "/.treeinfo"],
    ["/isos/r//images/./install.img", "/isos/r/images/install.img"],
    ["/rpms/os/../AppStream/repodata/", "/rpms/AppStream/repodata/"],
    ["/rpms/x/..", "/rpms/"],
    ["/..", "/"],
    ["/../../etc/passwd", "/etc/passwd"],
    ["/files/a%20b%23c%3Fd", "/files/a b#c?d"],
    ["/files/cafe%CC%81", "/files/café"],
    ["http://mirror.example.com:9000/files/x", "/files/x"],
    ["HTTP://mirror.example.com", "/"],
  ]);
  for (const [target, path] of cases) {
    const parsed = parseTarget(target);
    t.equal(typeof parsed === "string" ? parsed : parsed.path, path, target);
  }
});

t.test("parseTarget() takes the stream and the query off", async (t) => {
  t.same(parseTarget("/s/site-a/rpms/x?y=1&z"), { path: "/rpms/x", query: "y=1&z", stream: "site-a" });
  t.same(parseTarget("/s/site-a"), { path: "/", query: "", stream: "site-a" });
  t.same(parseTarget("/s/site-a/"), { path: "/", query: "", stream: "site-a" });
  t.same(parseTarget("/s/a/../b/x"), { path: "/x", query: "", stream: "b" }, "dots first");
  t.same(parseTarget("/s"), { path: "/s", query: "" });
});

t.test("parseTarget() refuses what is ambiguous", async (t) => {
  const bad = new Map<string, string>([
    ["", "empty"],
    ["*", "the asterisk form"],
    ["host:443", "the authority form"],
    ["ftp://host/x", "another scheme"],
    ["files/x", "relative"],
    ["/%", "half an escape"],
    ["/%zz", "not hex"],
    ["/%ff", "not UTF-8"],
    ["/%c0%af", "an overlong slash"],
    ["/files/%2e%2e/x", "encoded dots"],
    ["/files/.%2E/x", "half-encoded dots"],
    ["/files/%2fetc", "an encoded slash"],
    ["/files/..%5c..%5cx", "encoded backslashes"],
    ["/files/a\\b", "a backslash"],
    ["/files/a%00", "NUL"],
    ["/files/a%0d%0ab", "line ends"],
  ]);
  for (const [target, why] of bad) t.type(parseTarget(target), "string", why);
});
