import t from "tap";
import { answerable, parseChallenges } from "../../src/oci/challenge.ts";
import { isPlatform, parsePlatform, selectChildren } from "../../src/oci/platform.ts";
import { digestTag, formatReference, parseReference, servedRepository } from "../../src/oci/reference.ts";

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
    [`x.example/${"a".repeat(300)}`, "path too long"],
  ]);
  for (const [text, reason] of bad) t.throws(() => parseReference(text), { code: "ERR_REFERENCE_INVALID" }, reason);
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

t.test("platforms: variants count when asked for, attestations follow their image", async (t) => {
  t.ok(isPlatform({ os: "linux", architecture: "arm64" }, parsePlatform("linux/arm64/v8")));
  t.ok(isPlatform({ os: "linux", architecture: "arm", variant: "v7" }, parsePlatform("linux/arm")));
  t.notOk(isPlatform({ os: "linux", architecture: "arm", variant: "v6" }, parsePlatform("linux/arm/v7")));
  const digest = (letter: string) => `sha256:${letter.repeat(64)}` as const;
  const child = (letter: string, architecture: string, about?: string) => ({
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    digest: digest(letter),
    size: 1,
    platform: { os: about ? "unknown" : "linux", architecture },
    ...(about && {
      annotations: {
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": digest(about),
      },
    }),
  });
  const children = [child("a", "amd64"), child("b", "arm64"), child("c", "unknown", "a"), child("d", "unknown", "b")];
  const { selected, missing } = selectChildren(children, ["linux/amd64", "linux/s390x"]);
  t.same([...selected], [digest("a"), digest("c")]);
  t.same(missing, ["linux/s390x"]);
  t.equal(selectChildren(children, undefined).selected.size, 4);
});
