/** What doctor finds out about a registry: every image, damaged or not, and behind a login. */
import { createHash } from "node:crypto";
import { mkdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { hashSync } from "bcryptjs";
import t, { type Test } from "tap";
import { doctor } from "../../src/doctor.ts";
import type { Digest } from "../../src/io/digest.ts";
import { clientEnv, needs } from "../fixtures/clients.ts";
import { runClient } from "../fixtures/container-clients.ts";
import { TestImages } from "../fixtures/images.ts";
import { startServer, temporaryDir } from "../fixtures/serving.ts";

function make() {
  const images = new TestImages();
  // Larger than what the server checks by itself, so that only its length can tell.
  const large = Buffer.alloc(300_000, createHash("sha256").update("large").digest());
  const amd64 = images.image("linux/amd64", [{ a: "amd64", large }]);
  const arm64 = images.image("linux/arm64", [{ a: "arm64" }]);
  const other = images.image("linux/amd64", [{ other: "other" }]);
  const index = images.index([amd64, arm64]);
  const layersOf = ({ digest }: { digest: string }) =>
    JSON.parse(images.manifests.get(digest)!.bytes.toString()) as {
      config: { digest: string };
      layers: { digest: string }[];
    };
  return { images, amd64, arm64, other, index, layersOf };
}

async function serveImages(
  t: Test,
  { images, index, other }: ReturnType<typeof make>,
  leaveOut: string[] = [],
  options = {},
) {
  const platforms = leaveOut.length > 0 ? ["linux/amd64"] : [];
  const list = [
    images.catalogImage("registry.example.com/lab/one:1", index, { platforms }),
    images.catalogImage("quay.example.com/lab/two:2", other),
  ];
  const server = await startServer(
    t,
    [{ stream: "s", content: images.content(leaveOut), catalog: { images: list } }],
    options,
  );
  const home = await temporaryDir(t);
  const env = { HOME: home, DOCKER_CONFIG: home, XDG_RUNTIME_DIR: home, PATH: process.env.PATH };
  const look = async () => {
    const report = await doctor({ url: server.url, folder: home, env });
    return { ...report.findings.find((it) => it.check === "registry")!, all: JSON.stringify(report) };
  };
  const fileOf = (digest: string) => server.store.blobPath(digest as Digest);
  return { server, home, env, look, fileOf, host: new URL(server.url).host };
}

t.test("every image, its manifests and configs by digest, its layers there", async (t) => {
  const made = make();
  const { look } = await serveImages(t, made);
  t.match(await look(), { status: "ok", message: "2 images: 4 manifests by digest, 6 blobs available" });
  const arm64 = made.layersOf(made.arm64).layers.map((it) => it.digest);
  const sparse = await serveImages(t, made, arm64);
  t.match(await sparse.look(), {
    status: "ok",
    message: /5 blobs available, 1 layer of platforms that were not packed$/,
  });
});

t.test("what is damaged or missing is named, all of it", async (t) => {
  const made = make();
  const { look, fileOf } = await serveImages(t, made);
  const large = made.layersOf(made.amd64).layers[0]!.digest;
  truncateSync(fileOf(large), 1000);
  const gone = made.layersOf(made.other).layers[0]!.digest;
  rmSync(fileOf(gone));
  const config = made.layersOf(made.arm64).config.digest;
  writeFileSync(fileOf(config), Buffer.from(made.images.blobs.get(config)!.toString().replace("linux", "linus")));
  const found = await look();
  t.match(found, { status: "failed", remedy: /unpack the bundle again/ });
  t.match(found.message, `blob ${large} of registry.example.com/lab/one:1 answers 500`);
  t.match(found.message, `blob ${gone} of quay.example.com/lab/two:2 answers 500`);
  t.match(
    found.message,
    `config ${config} of registry.example.com/lab/one:1 answers 500: a file of the store is damaged`,
  );

  const again = await serveImages(t, made);
  writeFileSync(again.fileOf(made.amd64.digest), "{}");
  rmSync(again.fileOf(made.other.digest));
  const { message } = await again.look();
  t.match(message, `manifest ${made.amd64.digest} of registry.example.com/lab/one:1 answers 500: the manifest`);
  t.match(message, "image quay.example.com/lab/two:2 answers 500");
});

t.test("a layer that is missing although its platform was packed", async (t) => {
  const made = make();
  const layer = made.layersOf(made.other).layers[0]!.digest;
  const images = [made.images.catalogImage("quay.example.com/lab/two:2", made.other)];
  const { url } = await startServer(t, [{ stream: "s", content: made.images.content([layer]), catalog: { images } }]);
  const report = await doctor({ url, env: {} });
  t.match(
    report.findings.find((it) => it.check === "registry"),
    {
      status: "failed",
      message: `blob ${layer} of quay.example.com/lab/two:2 answers 404: quay.example.com/lab/two has no blob`,
    },
  );
});

t.test("the login of docker login or podman login is used, and never shown", async (t) => {
  const htpasswd = join(await temporaryDir(t), "users");
  const password = "s3cret-of-the-site";
  writeFileSync(htpasswd, `robot:${hashSync(password, 4)}\n`);
  const { look, host, home, env } = await serveImages(t, make(), [], { htpasswd });
  t.match(await look(), {
    status: "warning",
    message: /requires a login/,
    remedy: `podman login ${host}, then run doctor again`,
  });

  const file = join(home, "config.json");
  const write = (auth: string) => {
    const encoded = Buffer.from(auth).toString("base64");
    writeFileSync(file, JSON.stringify({ auths: { [host]: { auth: encoded } } }));
    return encoded;
  };
  const wrong = write("robot:wr0ng-of-the-site");
  const refused = await look();
  t.match(refused, { status: "failed", message: /refuses the login/ });
  for (const it of [wrong, "wr0ng"]) t.notMatch(refused.all, it);

  const encoded = write(`robot:${password}`);
  const found = await look();
  t.match(found, { status: "ok", message: /^2 images: / });
  for (const it of [password, encoded]) t.notMatch(found.all, it);

  writeFileSync(file, `{"auths": ${password}`);
  const broken = await look();
  t.match(broken, { status: "failed", message: /it is not JSON/, remedy: /log in again/ });
  t.notMatch(broken.all, password);
  rmSync(file);

  if (!needs(t, "podman")) return;
  mkdirSync(join(home, "containers"));
  const login = ["login", "--tls-verify=false", "-u", "robot", "-p", password, host];
  const done = await runClient("podman", login, { ...env, PATH: clientEnv().PATH as string });
  t.equal(done.status, 0, done.out);
  t.match(await look(), { status: "ok" });
});
