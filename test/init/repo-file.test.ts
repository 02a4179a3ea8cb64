/** src/init/repo-file.ts: sections and options of dnf's repository files. */
import t from "tap";
import { readSource } from "../../src/init/recognise.ts";

t.test("reads what is enabled, and lists everything else without its values", async (t) => {
  const found = readSource(
    `# c
[main]
gpgcheck=1
[base]
name = Base $releasever
baseurl = http://a.example/$releasever/
   http://b.example/$releasever/, file:///mnt/x
gpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-Rocky-9
repo_gpgcheck: yes
exclude=x y*
includepkgs=z
password=geheim
sslclientcert=/etc/x
priority=10
odd=1
metadata_expire=6h
[off]
metalink=https://m.example/
enabled=0
[list]
mirrorlist=https://m.example/metalink?repo=x
gpgcheck=0
module_hotfixes=True
[nowhere]
name=x
loose text
`,
    "x.repo",
  );
  t.match(found.repositories, [
    {
      name: "base",
      line: 4,
      place: { urls: ["http://a.example/$releasever/", "http://b.example/$releasever/"] },
      keys: ["file:///etc/pki/rpm-gpg/RPM-GPG-KEY-Rocky-9"],
      entry: { repo_gpgcheck: true, exclude: ["x", "y*"] },
      only: ["z"],
    },
    {
      name: "list",
      place: { metalink: "https://m.example/metalink?repo=x" },
      entry: { gpgcheck: false, module_hotfixes: true },
    },
  ]);
  t.same(found.releases, ["9"]);
  t.same(
    found.skipped.map((it) => it.what),
    [
      "a line outside of the format",
      "[main]",
      "[base] baseurl=file:///mnt/x",
      "[base] password",
      "[base] sslclientcert",
      "[base] priority",
      "[base] odd",
      "[off]",
      "[nowhere]",
    ],
  );
  t.notMatch(JSON.stringify(found), /geheim/);
});

t.test("comments after a section, as dnf reads them, and a second location", async (t) => {
  const found = readSource(
    "[updates] # comment\r\nbaseurl=http://a.example/x\nmetalink=https://m.example/\n[semi];c\nbaseurl=http://a.example/y\n",
    "x.repo",
  );
  t.match(found.repositories, [
    { name: "updates", line: 1, place: { url: "http://a.example/x" } },
    { name: "semi", line: 4 },
  ]);
  t.match(found.skipped, [{ line: 3, what: "[updates] metalink", why: /url of the same section is carried over/ }]);
});
