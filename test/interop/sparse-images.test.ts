/** Clients that take all of an index, of which some platforms were left out: what they say, and what works instead. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { needs } from "../fixtures/clients.ts";
import { runClient } from "../fixtures/container-clients.ts";
import { TestImages } from "../fixtures/images.ts";
import { startServer } from "../fixtures/serving.ts";

t.test("skopeo, crane and oras", async (t) => {
  if (!needs(t, "skopeo", "crane", "oras")) return;
  const images = new TestImages();
  const amd64 = images.image("linux/amd64", [{ "etc/motd": "amd64\n" }]);
  const kept = new Set(images.blobs.keys());
  const index = images.index([amd64, images.image("linux/arm64", [{ "etc/motd": "arm64\n" }])]);
  const leaveOut = [...images.blobs.keys()].filter((it) => !kept.has(it));
  const image = images.catalogImage("quay.io/t/a:1", index, { platforms: ["linux/amd64"] });
  const { port } = await startServer(t, [
    { stream: "s", content: images.content(leaveOut), catalog: { images: [image] } },
  ]);
  const dir = t.testdir();
  const home = join(dir, "home");
  mkdirSync(home);
  const reference = `127.0.0.1:${port}/quay.io/t/a`;
  const clients: Record<string, (tag: string) => string[]> = {
    skopeo: (tag) => [
      "copy",
      "--all",
      "--src-tls-verify=false",
      `docker://${reference}:${tag}`,
      `oci:${join(dir, tag)}`,
    ],
    crane: (tag) => ["validate", "--insecure", "--remote", `${reference}:${tag}`],
    oras: (tag) => [
      "copy",
      "-r",
      "--from-plain-http",
      "--to-oci-layout",
      `${reference}:${tag}`,
      `${join(dir, `oras-${tag}`)}:x`,
    ],
  };
  for (const [name, args] of Object.entries(clients)) {
    const run = (tag: string) => runClient(name, args(tag), { HOME: home, XDG_RUNTIME_DIR: home });
    const whole = await run("1");
    t.not(whole.status, 0, `${name}: the index names what is not here`);
    t.comment(`${name}: ${whole.out}`);
    const short = await run("1-packed");
    t.equal(short.status, 0, `${name}: ${short.out}`);
  }
});
