/** src/init/kickstart-source.ts: commands and sections as pykickstart reads them, of image-builder's files among others. */
import t from "tap";
import { readSource } from "../../src/init/recognise.ts";

const KICKSTART = `#version=RHEL9
url --url="https://dl.example/9/BaseOS/x86_64/os/" --noverifyssl
repo --name="App Stream" --baseurl https://dl.example/9/AppStream/x86_64/os/ --excludepkgs=a,b --includepkgs="c d"
repo --name=updates
repo --name=dvd --baseurl=file:///run/install/repo/AppStream
repo --name=nfs --baseurl=nfs:server:/x
cdrom
module --name=nodejs --stream=18
module --name=perl --disable
liveimg --url=https://x.example/live.img --checksum=${"ab".repeat(32)}
ostreecontainer --url quay.io/os/image:9 --no-signature-verification
rootpw --plaintext geheim
user --name=x --password=geheim
logging --host=https://log.example/in
nfs --server=s --dir=/d
%include /tmp/part
%packages --nocore --exclude-weakdeps --ignoremissing --multilib
@^minimal-environment # c
@ Development Tools --optional
@perl:5.32/common
-@dial-up
glibc.i686
kernel-*
bash # comment
 vim
-nano
two words
%include http://x.example/list
%end
%post --log=/root/x
%packages
not-a-package
curl -O https://user:pw@files.example/x.tar.gz?sig=1
  dnf -y install htop
# dnf install no
%end
%addon com_redhat_kdump --disable
%end
`;

t.test("takes sources and packages, and lists the rest with its line", async (t) => {
  const found = readSource(KICKSTART, "ks.cfg");
  t.same(
    found.packages.wanted.map((it) => it.spec),
    "@nodejs:18 @^minimal-environment @Development_Tools @perl:5.32/common glibc.i686 kernel-* bash vim"
      .split(" ")
      .map((it) => it.replace("_", " ")),
  );
  t.same(
    found.packages.excluded.map((it) => [it.spec, it.line]),
    [["nano", 26]],
  );
  t.same(found.packages.options, { weak_deps: "off", multilib: true });
  t.match(found.repositories, [
    { name: "", place: { url: "https://dl.example/9/BaseOS/x86_64/os/" }, line: 2 },
    { name: "App Stream", entry: { exclude: ["a", "b"] }, only: ["c", "d"] },
  ]);
  t.equal(found.repositories.length, 2);
  t.equal(found.dvd, 5);
  t.same(found.releases, ["9"]);
  t.match(found.files, [{ entry: { url: "https://x.example/live.img", sha256: "ab".repeat(32) } }]);
  t.match(found.images, [{ entry: { ref: "quay.io/os/image:9" } }]);
  const skipped = found.skipped.map((it) => `${it.line}: ${it.what}`);
  t.same(skipped, [
    "2: url --noverifyssl",
    "4: repo updates",
    "6: repo nfs nfs:server:/x",
    "9: module --name=perl --disable",
    "14: logging: https://log.example/in",
    "15: nfs",
    "16: %include /tmp/part",
    "17: %packages --ignoremissing",
    "19: @Development Tools --optional",
    "21: -@dial-up",
    "27: two words",
    "28: %include http://x.example/list",
    "33: %post: https://***@files.example/x.tar.gz?***",
    "34: %post: dnf -y install htop",
  ]);
  t.notMatch(JSON.stringify(found), /geheim|user:pw|sig=1/);
});

t.test("the installer's own: @core, recommended packages; sections of old files have no end", async (t) => {
  const found = readSource("install\ncdrom\n%packages\nvim\n%post\nyum install -y open-vm-tools\n", "ks.cfg");
  t.same(
    found.packages.wanted.map((it) => it.spec),
    ["@core", "vim"],
  );
  t.equal(found.packages.options.weak_deps, "recommends");
  t.same(
    found.skipped.map((it) => it.what),
    ["%post: yum install -y open-vm-tools"],
  );
});

t.test("images that are installed as a system, whatever names their transport", async (t) => {
  const lines = [
    "bootc --source-imgref=registry:quay.io/os/a:1 --target-imgref=reg.example/a:1",
    "bootc --source-imgref=docker://quay.io/os/b:1",
    "bootc --source-imgref=oci:/run/install/repo/container",
    "ostreecontainer --url=quay.io/os/c:1 --transport=docker",
    "ostreecontainer --url=ostree-unverified-registry:quay.io/os/d:1",
    "ostreecontainer --url=ostree-image-signed:docker://quay.io/os/e:1",
    "ostreecontainer --url=/x --transport=oci-archive",
    "bootc",
  ];
  const found = readSource(`rootpw x\n${lines.join("\n")}\n`, "ks.cfg");
  t.same(
    found.images.map((it) => it.entry.ref),
    ["a", "b", "c", "d", "e"].map((it) => `quay.io/os/${it}:1`),
  );
  t.same(
    found.skipped.map((it) => `${it.line}: ${it.what}`),
    [
      "2: bootc --target-imgref reg.example/a:1",
      "4: bootc oci:/run/install/repo/container",
      "8: ostreecontainer oci-archive:/x",
      "9: image without a name",
    ],
  );
});

t.test("a key that a script writes is listed; the rest is read", async (t) => {
  const key = "-----BEGIN PGP PUBLIC KEY BLOCK-----\nVersion: 1\n\nabc\n-----END PGP PUBLIC KEY BLOCK-----\n";
  const text = `cdrom\n%packages\nvim\n-\n%end\n%post\ncat >/etc/k <<E\n${key}E\npodman pull a/b:1\nbootc switch x/y\ngit clone git@x.example:y\nls install\n%end\n`;
  const found = readSource(text, "ks.cfg");
  t.match([found.formats, found.isKey], [["kickstart"], undefined]);
  t.same(
    found.packages.wanted.map((it) => it.spec),
    ["@core", "vim"],
  );
  t.same(
    found.skipped.map((it) => `${it.line}: ${it.what}`),
    [
      "4: -",
      "14: %post: podman pull a/b:1",
      "15: %post: bootc switch x/y",
      "16: %post: git clone git@x.example:y",
      "8: OpenPGP key",
    ],
  );
  t.equal(readSource(`pub rsa4096\nFingerprint: AB\n${key}`, "k").isKey, true);
  t.same(readSource(`[a]\nbaseurl=http://x/\n${key}`, "k").formats, ["dnf repository file"]);
});

t.test("further locations and options of hosts are listed", async (t) => {
  const text =
    "url --url=http://x/ --mirrorlist=http://m/\nliveimg --url=http://x/i --checksum=md5 --proxy=http://p/ \n";
  t.same(
    readSource(text, "ks.cfg").skipped.map((it) => it.what),
    ["url --mirrorlist", "liveimg --checksum", "liveimg --proxy"],
  );
});
