/** The verb publish: what is refused before a registry is asked for anything. What registries take is in interop/publish.test.ts. */
import { createServer } from "node:http";
import t from "tap";
import { publish } from "../src/publish.ts";
import { storeOfImages } from "./fixtures/image-store.ts";
import { TestImages } from "./fixtures/images.ts";
import { scratch } from "./fixtures/program.ts";

const dir = scratch(t);
const images = new TestImages();
const of = (platform: string, text: string) => images.image(platform, [{ "etc/motd": text }]);
const one = images.index([of("linux/amd64", "one"), of("linux/arm64", "one")]);
const other = images.index([of("linux/amd64", "other")]);
const named = { "quay.io/lab/app:1": one, "registry.example.com/lab/app:1": other };
const store = await storeOfImages(dir, images, named);

/** A registry that counts what it is asked for, and lets nobody in. */
let requests = 0;
const closed = createServer((_request, response) => {
  requests++;
  response.writeHead(403).end();
});
await new Promise<void>((resolve) => closed.listen(0, "127.0.0.1", resolve));
t.teardown(() => closed.close());
const { port } = closed.address() as { port: number };
const registry = `127.0.0.1:${port}`;

t.test("a target that is none", async (t) => {
  for (const text of ["", "host/UPPER", "host/a//b", "ho st", "host:port:x/a", "host/a:1"])
    await t.rejects(publish({ store, registry: text }), { code: "ERR_USAGE", message: /expected HOST\[:PORT\]/ }, text);
});

t.test("two images that would have one name", async (t) => {
  const options = { store, registry, insecure: true, names: "bare" as const };
  await t.rejects(publish(options), {
    code: "ERR_PUBLISH",
    message: /^cannot publish "lab\/app:1": two images have this name: quay\.io\/lab\/app:1 \(sha256:/,
  });
});

t.test("an image that the store does not have, and a CA that is not there", async (t) => {
  await t.rejects(publish({ store, registry, references: ["none:1"] }), { code: "ERR_NOT_FOUND" });
  await t.rejects(publish({ store, registry, stream: "other", references: ["quay.io/lab/app:1"] }), {
    code: "ERR_NOT_FOUND",
  });
  await t.rejects(publish({ store, registry, ca: `${dir}/none.crt` }), { code: "ERR_NOT_FOUND" });
});

t.test("none of these asked the registry; what is right does", async (t) => {
  t.equal(requests, 0);
  const right = publish({ store, registry, insecure: true, references: ["registry.example.com/lab/app:1"] });
  await t.rejects(right, { code: "ERR_PUBLISH" });
  t.ok(requests > 0);
});
