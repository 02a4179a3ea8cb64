/** `/openapi.json`: valid OpenAPI 3.1, and true: each path in it is asked for, and answers as it says. */
import { Validator } from "@seriousme/openapi-schema-validator";
import t from "tap";
import { z } from "zod";
import { serve } from "../../../src/serve.ts";
import { OPENAPI } from "../../../src/server/pages/openapi-document.ts";
import { manyPackages, unpackPageStream } from "../../fixtures/page-store.ts";
import { scratch } from "../../fixtures/program.ts";

interface Operation {
  responses: Record<string, { $ref?: string; content?: Record<string, { schema?: object }> }>;
}

/** The schema with what it refers to in place. */
function inlined(schema: object): object {
  const text = JSON.stringify(schema, (_, value) => {
    const name = /^#\/components\/schemas\/(\w+)$/.exec(value?.$ref ?? "")?.[1];
    return name === undefined ? value : OPENAPI.components.schemas[name as keyof typeof OPENAPI.components.schemas];
  });
  return JSON.parse(text) as object;
}

t.test("the document is valid", async (t) => {
  const validator = new Validator();
  const { valid, errors } = await validator.validate(structuredClone(OPENAPI));
  t.ok(valid, JSON.stringify(errors));
  t.equal(validator.version, "3.1");
  const wrong = structuredClone(OPENAPI) as { paths: Record<string, unknown> };
  wrong.paths["no-slash"] = { get: { responses: "none" } };
  t.notOk((await new Validator().validate(wrong)).valid, "and the validator refuses what is not");
  const ids = Object.values(OPENAPI.paths).flatMap((it) => Object.values(it).map(({ operationId }) => operationId));
  t.equal(new Set(ids).size, ids.length, "each operation has a name of its own");
});

t.test("each path answers as the document says", async (t) => {
  const store = await unpackPageStream(scratch(t), { stream: "a", packages: manyPackages(30) });
  const serving = await serve({ store, listen: "127.0.0.1:0" });
  t.teardown(() => serving.close());
  const url = serving.urls.at(-1)!;
  const served = await (await fetch(`${url}/openapi.json`)).json();
  t.strictSame(served, JSON.parse(JSON.stringify(OPENAPI)));

  const index = (await (await fetch(`${url}/index.json`)).json()) as {
    images: { repository: string; digest: string }[];
  };
  const { repository, digest } = index.images[0]!;
  const values: Record<string, string> = {
    stream: "a",
    iso: "rocky-9",
    name: repository,
    reference: "v1.33.4",
    digest,
  };
  const here: Record<string, string> = {
    "/files/{path}": "/files/containerd-2.1.4-linux-amd64.tar.gz.sha256sum",
    "/rpms/{path}": "/rpms/kubernetes/repodata/repomd.xml",
    "/images/{path}": "/images/oci-layout",
    "/keys/{path}": "/keys/RPM-GPG-KEY-test",
    "/s/{stream}/{path}": "/s/a/files/containerd-2.1.4-linux-amd64.tar.gz",
    "/s/{stream}/releases/{release}": "/s/a/releases/000001",
    "/config/{path}": "/config/airferry.repo",
    "/ns/{host}/v2/": "/ns/registry.k8s.io/v2/",
    "/packages.json": "/packages.json?q=lib",
  };
  // The ISO of this store is none inside, it has no merged repository, no web answers, and no CA.
  const absent = ["/isos/{iso}/{path}", "/rpmrepo/{path}", "/web/{path}", "/ca.crt"];
  for (const [path, item] of Object.entries(OPENAPI.paths)) {
    const filled = here[path] ?? path.replace(/\{(\w+)\}/g, (_, name: string) => values[name] ?? "none");
    const expected = absent.includes(path) ? 404 : 200;
    for (const method of ["get", "head"] as const) {
      const answer = await fetch(url + filled, { method });
      const body = await answer.text();
      t.equal(answer.status, expected, `${method} ${filled}`);
      if (method === "head") continue;
      const { responses } = item.get as Operation;
      const said = responses[String(expected)];
      t.ok(said, `${path}: ${expected} is in the document`);
      const content = said?.$ref === undefined ? said?.content : OPENAPI.components.responses.NotFound.content;
      const type = answer.headers.get("content-type")?.split(";")[0] ?? "";
      const media = content?.[type as keyof typeof content] ?? content?.["*/*" as keyof typeof content];
      t.ok(media, `${path}: ${type} is one of ${Object.keys(content ?? {})}`);
      const schema = (media as { schema?: object } | undefined)?.schema;
      if (!/json$/.test(type) || schema === undefined || "*/*" in (content ?? {})) continue;
      const checked = z
        .fromJSONSchema(inlined(schema) as Parameters<typeof z.fromJSONSchema>[0])
        .safeParse(JSON.parse(body));
      t.ok(checked.success, `${path}: ${checked.error?.message}`);
    }
    // What is not there is as the document says too.
    if (!path.includes("{") || !("404" in (item.get as Operation).responses)) continue;
    const nothing = path
      .replace("/s/{stream}/", "/s/no-such/")
      .replace("{digest}", `sha256:${"0".repeat(64)}`)
      .replace(/\{\w+\}/g, "no-such");
    const answer = await fetch(url + nothing);
    t.equal(answer.status, 404, nothing);
    const content = (item.get as Operation).responses["404"]?.content ?? OPENAPI.components.responses.NotFound.content;
    t.ok(
      (answer.headers.get("content-type")?.split(";")[0] ?? "") in content,
      `${nothing}: ${answer.headers.get("content-type")}`,
    );
  }
  t.equal((await fetch(`${url}/v2/no-such/blobs/no-such`)).status, 400);
  t.ok("400" in OPENAPI.paths["/v2/{name}/blobs/{digest}"].get.responses);
  for (const [name, schema] of Object.entries({ Index: "/index.json", Packages: "/packages.json" })) {
    const definition = OPENAPI.components.schemas[name as "Index" | "Packages"];
    const parsed = z.fromJSONSchema(inlined(definition) as Parameters<typeof z.fromJSONSchema>[0]);
    const document = (await (await fetch(url + schema)).json()) as Record<string, unknown>;
    for (const key of Object.keys(document)) {
      const { [key]: _, ...rest } = document;
      t.notOk(parsed.safeParse(rest).success, `${name} requires ${key}`);
    }
  }
});
