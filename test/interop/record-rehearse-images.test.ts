/**
 * podman and skopeo, recorded at a registry with tokens and signed redirects, and rehearsed by the same commands, as root
 * and as another user. What is taken out is named.
 */
import { chmodSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import type { RequestListener } from "node:http";
import { basename, join } from "node:path";
import t from "tap";
import { clientEnv, needs } from "../fixtures/clients.ts";
import { TestImages } from "../fixtures/images.ts";
import { onOwnMachine } from "../fixtures/own-machine.ts";
import { CHECKOUT, start } from "../fixtures/program.ts";
import { recordAndRehearse, recordLab } from "../fixtures/record-lab.ts";
import { everythingIn } from "../fixtures/recording.ts";

const TOKEN = "SECRET-TOKEN-OF-THE-LAB";
const SIGNATURE = "SECRET-SIGNATURE-OF-THE-LAB";

const images = new TestImages();
const image = images.image("linux/amd64", [{ "etc/lab": "lab" }]);

const registry: RequestListener = (request, response) => {
  const { pathname } = new URL(request.url ?? "", "https://registry.lab.example");
  if (request.headers.authorization !== `Bearer ${TOKEN}`) {
    const challenge = 'Bearer realm="https://auth.lab.example/token",service="lab"';
    response.writeHead(401, { "www-authenticate": challenge }).end('{"errors":[{"code":"UNAUTHORIZED"}]}');
    return;
  }
  const reference = basename(pathname);
  const manifest = images.manifests.get(reference === "1" ? image.digest : reference);
  if (pathname.startsWith("/v2/lab/bb/manifests/") && manifest !== undefined) {
    const digest = reference === "1" ? image.digest : reference;
    const headers = { "docker-content-digest": digest, "content-length": manifest.bytes.length };
    response.writeHead(200, { ...headers, "content-type": manifest.mediaType });
    response.end(request.method === "HEAD" ? undefined : manifest.bytes);
  } else if (images.blobs.has(reference)) {
    const location = `https://storage.lab.example/${reference}?X-Amz-Signature=${SIGNATURE}`;
    response.writeHead(307, { location }).end();
  } else if (pathname === "/v2/") response.end("{}");
  else response.writeHead(404).end('{"errors":[{"code":"NOT_FOUND"}]}');
};
const auth: RequestListener = (_request, response) =>
  void response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ token: TOKEN }));
const storage: RequestListener = (request, response) => {
  const { pathname, searchParams } = new URL(request.url ?? "", "https://storage.lab.example");
  const blob = searchParams.get("X-Amz-Signature") === SIGNATURE ? images.blobs.get(basename(pathname)) : undefined;
  response.writeHead(blob === undefined ? 403 : 200).end(blob);
};

/** As it is typed outside; storage of its own, since that of the machine may have the image. */
const PODMAN = `rm -rf p r
podman --root $PWD/p --runroot $PWD/r --storage-driver vfs pull -q registry.lab.example/lab/bb:1
`;
const SKOPEO = `rm -rf copied
skopeo copy -q docker://registry.lab.example/lab/bb:1 dir:copied
`;

/** A user who has nothing, without what tap adds for its own processes. */
const NOBODY = [
  ...["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"],
  ...["env", "-u", "XDG_RUNTIME_DIR", "-u", "NODE_OPTIONS"],
] as const;

if ((await onOwnMachine(t, import.meta.filename)) && needs(t, "podman", "skopeo", "setpriv")) {
  mkdirSync("/etc/containers", { recursive: true });
  writeFileSync("/etc/containers/policy.json", '{"default":[{"type":"insecureAcceptAnything"}]}');
  const hosts = { "registry.lab.example": registry, "auth.lab.example": auth, "storage.lab.example": storage };

  t.test("podman pull and skopeo copy", async (t) => {
    const lab = await recordLab(t, hosts);
    mkdirSync(join(lab.dir, "home"));
    for (const it of [".", "home"]) chmodSync(join(lab.dir, it), 0o777);
    const { bundle, script } = await recordAndRehearse(t, lab, [
      ["podman", PODMAN, /\/blobs\//],
      ["skopeo", SKOPEO, /\/blobs\//],
    ]);
    // Another user has storage of its own.
    const clean = () => {
      for (const it of ["p", "r", "copied"]) rmSync(join(lab.dir, it), { recursive: true, force: true });
    };
    const home = join(lab.dir, "home");
    const user = [...NOBODY, `HOME=${home}`, ...CHECKOUT] as const;
    clean();
    const args = ["record", "--out", join(home, "own.yaml"), "--ca", "up.crt", "--", "sh", "-ec", script];
    const recorded = await start(lab.dir, args, { PATH: clientEnv().PATH }, user).done;
    t.equal(recorded.status, 0, recorded.stderr);
    clean();
    const other = await lab.rehearse(bundle, script, user);
    t.equal(other.status, 0, other.stderr);
    const written = everythingIn(lab.dir);
    for (const secret of [TOKEN, SIGNATURE]) t.notOk(written.includes(secret), "no secret in any file");
  });
}
