import t from "tap";
import type { AirferryError } from "../../src/errors.ts";
import { answerable, parseChallenges } from "../../src/http/challenge.ts";
import { formatPlatform, isPlatform, PLATFORM, parsePlatform } from "../../src/oci/platform.ts";
import {
  checkReference,
  digestTag,
  formatReference,
  parseReference,
  servedRepository,
} from "../../src/oci/reference.ts";

const DIGEST = `sha256:${"a".repeat(64)}` as const;

t.test("parseReference() normalises as docker does, and formatReference() gives the same again", async (t) => {
  const good = new Map([
    ["busybox", "docker.io/library/busybox:latest"],
    ["x/y", "docker.io/x/y:latest"],
    ["docker.io/busybox", "docker.io/library/busybox:latest"],
    ["index.docker.io/library/busybox:1", "docker.io/library/busybox:1"],
    ["registry-1.docker.io/x/y:1", "docker.io/x/y:1"],
    ["localhost/x", "localhost/x:latest"],
    ["localhost:5000/x:1", "localhost:5000/x:1"],
    ["REGISTRY.example.com/x:1", "registry.example.com/x:1"],
    ["[::1]:5000/x:1", "[::1]:5000/x:1"],
    [`x.example/y@${DIGEST}`, `x.example/y@${DIGEST}`],
    [`x.example/y:1@${DIGEST}`, `x.example/y:1@${DIGEST}`],
    ["a/b__c/d-e.f:V_1.0-x", "docker.io/a/b__c/d-e.f:V_1.0-x"],
  ]);
  for (const [text, canonical] of good) {
    t.equal(formatReference(parseReference(text)), canonical);
    t.equal(formatReference(parseReference(canonical)), canonical);
  }
});

t.test("parseReference() refuses", async (t) => {
  const bad = new Map([
    ["", "no name"],
    ["x:", "empty tag"],
    ["x:-1", "tag starts with a dash"],
    [`x:${"a".repeat(129)}`, "tag too long"],
    ["x@sha256:abc", "short digest"],
    [`x@sha256:${"A".repeat(64)}`, "upper-case digest"],
    ["x@md5:00000000000000000000000000000000", "another algorithm"],
    ["x.example/Y:1", "upper-case path"],
    ["x.example/y//z", "empty segment"],
    ["x.example/../z", "dots"],
    ["https://x.example/y", "a URL"],
    ["x.example:99999999/y", "a port that is none"],
    ["127.0.0.1:99999/y", "a port over 65535"],
    ["1.2.3.999/y", "an address that is none"],
    ["[::1::2]/y", "an IPv6 address that is none"],
    ["x@latest", "a tag after @"],
    [`x.example/${"a".repeat(300)}`, "path too long"],
  ]);
  for (const [text, reason] of bad) t.throws(() => parseReference(text), { code: "ERR_REFERENCE_INVALID" }, reason);
});

t.test("what is too long is told by its length, not by its letters", async (t) => {
  const long = new Map([
    [`x:${"a".repeat(129)}`, 'tag too long: expected at most 128 characters, got 129: "aaaa'],
    [`x.example/${"a/".repeat(150)}a`, 'repository name too long: expected at most 255 characters, got 301: "a/a/'],
  ]);
  for (const [text, fault] of long) {
    const found = checkReference(text)?.fault ?? "";
    t.ok(found.startsWith(fault), found);
  }
  t.equal(checkReference(`x:${"a".repeat(128)}`), undefined);
  t.equal(checkReference(`x.example/${"a".repeat(255)}`), undefined);
});

t.test("a word that is neither host nor name is refused, and endless text at once", async (t) => {
  t.match(checkReference("hX/14073"), {
    fault: '"hX" is neither a repository name (lower case) nor a host (with a dot or a port',
  });
  t.equal(formatReference(parseReference("LOCALHOST/a:1")), "localhost/a:1");
  const long = "a@sha1@".repeat(10_000);
  t.throws(() => parseReference(long), {
    code: "ERR_REFERENCE_INVALID",
    message: 'cannot read image reference "…": too long: expected at most 1024 characters, got 70000',
  });
});

t.test("what people type is answered with what to write instead, and without their passwords", async (t) => {
  const typed = new Map([
    ["docker://x.example/y:1", "remove docker://"],
    ["oci://x.example/charts/y", "remove oci://"],
    ["https://x.example/y", "remove https://"],
    ["x.example/charts/y:1.2+b3", "registries write + as _: x.example/charts/y:1.2_b3"],
    ["me:s3cret@x.example/y:1", "docker login"],
    ["me:s3cret@x.example:5000", "docker login"],
    ["https://me:s3cret@x.example/y:1", "remove https://"],
    [`me:s3cr@t@x.example/y@${DIGEST}`, "docker login"],
  ]);
  for (const [text, hint] of typed) {
    try {
      parseReference(text);
      t.fail(text);
    } catch (error) {
      t.match((error as AirferryError).hint, hint, text);
      t.notMatch(JSON.stringify([(error as Error).message, error]), /s3cr|@t@/, "no password is shown");
    }
    t.notMatch(JSON.stringify(checkReference(text)), /s3cr/);
  }
});

t.test("names in the served registry and tags of digests", async (t) => {
  t.equal(servedRepository(parseReference("x.example:5000/y:1")), "x.example_5000/y");
  t.equal(digestTag(DIGEST, ".sig"), `sha256-${"a".repeat(64)}.sig`);
});

t.test("parseChallenges() reads several schemes and quoted commas", async (t) => {
  const header =
    'Negotiate abc==, Basic realm="a, \\"b\\"", Bearer realm="https://auth.example/token",scope="repository:a:pull,push"';
  t.same(parseChallenges(header), [
    { scheme: "negotiate", parameters: {} },
    { scheme: "basic", parameters: { realm: 'a, "b"' } },
    { scheme: "bearer", parameters: { realm: "https://auth.example/token", scope: "repository:a:pull,push" } },
  ]);
  t.equal(answerable(header)?.scheme, "bearer");
  t.equal(answerable("Negotiate")?.scheme, undefined);
  t.equal(answerable(undefined), undefined);
});

t.test("platforms are compared as containerd does", async (t) => {
  const same = new Map([
    ["linux/arm64", ["linux/arm64/v8", "linux/aarch64", "linux/arm64/8"]],
    ["linux/amd64", ["linux/amd64/v1", "linux/x86_64"]],
    ["linux/arm", ["linux/arm/v7", "linux/arm/7", "linux/armhf"]],
    ["linux/arm/v6", ["linux/armel", "linux/arm/6"]],
    ["linux/386", ["linux/i386"]],
    ["windows/amd64", ["windows(10.0.17763)/amd64"]],
    ["windows(10.0.17763)/amd64", ["windows(10.0.17763.2114)/amd64", "windows/amd64"]],
  ]);
  const other = new Map([
    ["linux/arm64", ["linux/arm64/v9", "linux/arm", "windows/arm64"]],
    ["linux/amd64", ["linux/amd64/v3", "linux/386"]],
    ["linux/arm", ["linux/arm/v6", "linux/arm/v8", "linux/arm64"]],
    ["windows(10.0.17763)/amd64", ["windows(10.0.20348)/amd64", "windows(10.0.177630)/amd64"]],
  ]);
  for (const [table, expected] of [
    [same, true],
    [other, false],
  ] as const) {
    for (const [one, others] of table) {
      for (const it of others) {
        t.ok(PLATFORM.test(it), it);
        t.equal(isPlatform(parsePlatform(one), parsePlatform(it)), expected, `${one} and ${it}`);
        t.equal(isPlatform(parsePlatform(it), parsePlatform(one)), expected, `${it} and ${one}`);
        t.equal(formatPlatform(parsePlatform(it)), it, "round trip");
      }
    }
  }
  for (const bad of ["linux", "linux/", "linux/amd64/v1/x", "windows()/amd64", "windows(10)/amd64", "Linux/amd64", ""])
    t.notOk(PLATFORM.test(bad), bad);
});
