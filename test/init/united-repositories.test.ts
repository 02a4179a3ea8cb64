/** src/init/united-repositories.ts: one repository of several files loses nothing, whatever the order of the files. */
import t from "tap";
import { mergeFound } from "../../src/init/merge.ts";
import { readSource } from "../../src/init/recognise.ts";

const U = "http://x.example/base";
const KEY = "https://x.example/KEY";

/** Merges files in their order and in the opposite one, and compares what does not depend on it. */
function both(
  t: { same: (found: unknown, wanted: unknown, name: string) => unknown },
  texts: Record<string, string>,
  keyPaths = new Map<string, string>(),
) {
  const merge = (files: [string, string][]) => {
    const found = files.map(([file, text]) => readSource(text, file));
    const merged = mergeFound(found, { vars: {}, platforms: [], keyPaths });
    const lines = (them: readonly { file: string; line: number; what: string; why: string }[]) =>
      them.map((it) => `${it.file}:${it.line}: ${it.what}: ${it.why}`);
    return { rpms: merged.rpms.map((it) => it.entry), notes: merged.notes, skipped: lines(merged.skipped).sort() };
  };
  const [ahead, behind] = [merge(Object.entries(texts)), merge(Object.entries(texts).reverse())];
  const spelled = (it: unknown) => String(it).replace(/\/$/, "").replace("$releasever", "9");
  const sorted = ({ rpms }: typeof ahead) =>
    rpms.map(({ name: _, vars: __, ...rest }) =>
      Object.fromEntries(Object.entries(rest).map(([key, it]) => [key, [it].flat().map(spelled).sort()])),
    );
  t.same(sorted(behind), sorted(ahead), "the opposite order gives the same entries");
  t.same(
    behind.skipped.map((it) => it.replace(/: \w+:\d+ names/, ": names")),
    ahead.skipped.map((it) => it.replace(/: \w+:\d+ names/, ": names")),
    "and the same list",
  );
  return ahead;
}

t.test("the stricter check: a file without keys does not take those of another one", async (t) => {
  const ks = `url --url=${U}/\n`;
  const one = both(t, { ks, repo: `[b]\nbaseurl=${U}\ngpgkey=${KEY}\ngpgcheck=1\n` });
  t.same(one.rpms, [{ name: "base", url: `${U}/`, keys: [KEY] }]);
  t.notMatch(one.notes.join(), /not checked/);
  const off = `[b]\nbaseurl=${U}\ngpgcheck=0\n`;
  const two = both(t, { off, ks, on: `[a]\nbaseurl=${U}\ngpgkey=${KEY}\nrepo_gpgcheck=1\nmodule_hotfixes=1\n` });
  t.match(two.rpms, [{ keys: [KEY], gpgcheck: undefined, repo_gpgcheck: true, module_hotfixes: true }]);
  const keys = both(t, { a: `[a]\nbaseurl=${U}\ngpgkey=${KEY}\n`, b: `[b]\nbaseurl=${U}\ngpgkey=${KEY}2\n` });
  t.match(keys.rpms, [{ keys: [KEY, `${KEY}2`] }]);
  const none = both(t, { ks, off });
  t.match(none.rpms, [{ gpgcheck: false }]);
  t.match(none.notes, [/carried whole/, /its file has gpgcheck=0/]);
  const rocky = "http://x.example/rocky/9/BaseOS/x86_64/os";
  t.match(both(t, { ks: `url --url=${rocky}\n`, off: `[b]\nbaseurl=${rocky}\ngpgcheck=0\n` }).rpms, [
    { keys: [/RPM-GPG-KEY-Rocky-9$/], gpgcheck: undefined },
  ]);
});

t.test("keys that are not there: what needs them is not carried unchecked by way of another file", async (t) => {
  const ks = `url --url=${U}\n`;
  const own = `[b]\nbaseurl=${U}\ngpgkey=file:///etc/pki/OWN\n`;
  const refused = both(t, { ks, own });
  t.same(refused.rpms, []);
  t.match(refused.skipped, [/^ks:1: .*--from OWN$/, /^own:1: repository b: its key .* --from OWN$/]);
  const given = both(t, { ks, own, OWN: "-----BEGIN PGP PUBLIC KEY BLOCK-----\n" }, new Map([["OWN", "k/OWN"]]));
  t.match(given.rpms, [{ keys: ["k/OWN"], gpgcheck: undefined }]);
  const off = `${own}gpgcheck=0\n`;
  const listed = both(t, { off, on: `[a]\nbaseurl=${U}\ngpgkey=${KEY}\n` });
  t.match(listed.rpms, [{ keys: [KEY], gpgcheck: undefined }]);
  t.match(listed.skipped, [/^off:1: repository b gpgkey: its key/]);
  const keyless = both(t, { on: `[a]\nbaseurl=${U}\n`, off: `[b]\nbaseurl=${U}\ngpgkey=${KEY}\ngpgcheck=0\n` });
  t.match(keyless.rpms, [{ keys: [KEY], gpgcheck: undefined }]);
});

t.test("a location in common makes one repository, with all its URLs", async (t) => {
  const checked = `gpgkey=${KEY}\n`;
  const { rpms } = both(t, {
    a: `[a]\nbaseurl=${U} http://y.example/base\n${checked}`,
    b: `[b]\nbaseurl=http://z.example/base\n${checked}`,
    c: `[c]\nbaseurl=http://z.example/base/ ${U}/\n${checked}[d]\nbaseurl=http://other.example/\n${checked}`,
  });
  t.same(
    rpms.map((it) => it.urls ?? it.url),
    [[U, "http://y.example/base", "http://z.example/base"], "http://other.example/"],
  );
  const versioned = both(t, {
    ks: "#version=RHEL9\nurl --url=http://x.example/9/os\n",
    repo: `[b]\nbaseurl=http://x.example/$releasever/os\n${checked}`,
  });
  t.match(versioned.rpms, [{ keys: [KEY] }]);
  t.equal(versioned.rpms.length, 1);
  const login = both(t, {
    ks: `url --url=${U}\n`,
    repo: `[b]\nbaseurl=${U} http://u:geheim@x.example/\n${checked}`,
  });
  t.match(login.rpms, [{ url: U, keys: [KEY] }]);
  t.match(login.skipped, [/^repo:1: repository b http:\/\/\*\*\*@x.example\/: it has a user or password/]);
});

t.test("packages of all, and only what all exclude", async (t) => {
  const section = (id: string, more: string) => `[${id}]\nbaseurl=${U}\ngpgkey=${KEY}\n${more}`;
  const limits = both(t, {
    a: section("a", "includepkgs=foo\nexclude=x y\n"),
    b: section("b", "includepkgs=bar\nexclude=y\n"),
  });
  t.match(limits.rpms, [{ name: "a", packages: ["foo", "bar"], exclude: ["y"] }]);
  t.match(limits.skipped, [/^a:1: repository a exclude x: b:1 names the same repository without that/]);
  const whole = both(t, { a: section("a", "includepkgs=foo\n"), b: section("b", "") });
  t.match(whole.rpms, [{ packages: undefined }]);
  t.match(whole.skipped, [/^a:1: repository a includepkgs: b:1 names the same repository without a limit/]);
});

t.test("what no file may install is excluded where nothing is requested, or is listed", async (t) => {
  const ks = "%packages --nocore\n-vim\n%end\n";
  const repo = `[a]\nbaseurl=${U}\ngpgkey=${KEY}\n`;
  t.match(both(t, { ks: `url --url=${U}\n${ks}` }).rpms, [{ exclude: ["vim"], packages: undefined }]);
  t.match(both(t, { ks, repo }).rpms, [{ exclude: ["vim"], packages: undefined }]);
  t.match(both(t, { ks, list: "bash-5-1.el9.x86_64\n", repo }).rpms, [{ exclude: ["vim"] }]);
  t.match(both(t, { ks }).skipped, [/^ks:2: -vim: it needs a repository/]);
  t.match(both(t, { ks: "%packages --nocore\nvim\n-nano\n%end\n" }).skipped, [/vim: it needs/, /-nano: it needs/]);
});
