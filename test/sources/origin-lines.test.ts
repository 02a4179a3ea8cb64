/** What the catalog says of URLs that clients use outside: what they need to find things inside, and no secret. */
import t from "tap";
import type { Manifest, RpmEntry } from "../../src/manifest/schema.ts";
import type { LockedOf, LockedRpm } from "../../src/sources/lock-document.ts";
import { artifactOrigins, repositoryOrigins } from "../../src/sources/origin-lines.ts";

const MANIFEST: Manifest = { apiVersion: "airferry/v1", stream: "s" };
const BASE = "https://repo.example.com/el9/";

function locked(name: string, packageUrl: string | undefined, keys = 0): LockedRpm {
  return {
    kind: "rpm",
    name,
    request: "",
    artifacts:
      packageUrl === undefined
        ? []
        : [{ path: `rpms/${name}/x.rpm`, urls: [packageUrl], established: "upstream-signed", size: 1 }],
    detail: {
      keys: Array.from({ length: keys }, () => ({
        path: `keys/${name}`,
        kept: `sha256:${"0".repeat(64)}`,
        fingerprints: [],
      })),
    },
  } as unknown as LockedRpm;
}

function linesOf(entry: Omit<RpmEntry, "name">, packageUrl?: string, keys = 0): unknown[] {
  return repositoryOrigins([locked("r", packageUrl, keys)], { ...MANIFEST, rpms: [{ name: "r", ...entry }] });
}

t.test("the address of a repository, where its packages do not show it", async (t) => {
  const path = "rpms/r/";
  t.strictSame(linesOf({ url: BASE }, `${BASE}Packages/x.rpm`), []);
  t.strictSame(linesOf({ url: BASE.slice(0, -1) }, `${BASE}Packages/x.rpm`), []);
  t.strictSame(linesOf({ url: BASE }), [{ path, url: BASE }], "no package");
  const mirror = "https://mirror.example.com/el$releasever/";
  t.strictSame(linesOf({ urls: [BASE, mirror], vars: { releasever: "9" } }, `${BASE}x.rpm`), [
    { path, url: "https://mirror.example.com/el9/" },
  ]);
  t.strictSame(linesOf({ url: `${BASE}?token=secret` }), [], "a query may be a secret");
  t.strictSame(repositoryOrigins([locked("gone", undefined)], MANIFEST), []);
});

t.test("lists of mirrors, without what may be a secret", async (t) => {
  const list =
    "https://mirrors.example.com/list?repo=os-$basearch&arch=x86_64&token=secret&countme=1&X-Amz-Signature=s";
  t.strictSame(linesOf({ mirrorlist: list }, "https://far.example.net/os/x.rpm"), [
    { path: "rpms/r/", url: "https://mirrors.example.com/list?repo=os-x86_64&arch=x86_64", list: "mirrorlist" },
  ]);
  t.strictSame(linesOf({ metalink: "https://mirrors.example.com/el9?key=k#x" }, `${BASE}x.rpm`), [
    { path: "rpms/r/", url: "https://mirrors.example.com/el9", list: "metalink" },
  ]);
});

t.test("keys by URL; files and queries are nobody's", async (t) => {
  const keys = [`${BASE}KEY-$basearch`, "./local.asc", `${BASE}KEY?sig=secret`];
  t.strictSame(linesOf({ url: BASE, keys }, `${BASE}x.rpm`, 1), [{ path: "keys/r", url: `${BASE}KEY-x86_64` }]);
  t.strictSame(linesOf({ url: BASE, keys }, `${BASE}x.rpm`), [], "none that is carried");
});

t.test("further mirrors of files", async (t) => {
  const artifact = { path: "files/x", established: "manifest" as const };
  const urls = ["https://a.example/x", "https://b.example/x", "https://c.example/x?***"];
  const entry = { kind: "file", name: "x", request: "", artifacts: [{ ...artifact, urls }] } as LockedOf<"file">;
  t.strictSame(artifactOrigins([entry], MANIFEST), [{ path: "files/x", url: "https://b.example/x" }]);
});
