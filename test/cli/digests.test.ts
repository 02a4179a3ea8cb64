/** One form of a digest for scripts: what `--json` prints says `sha256:…`, whichever verb printed it; bare hex are keyids alone. */
import t from "tap";
import { airferry } from "../fixtures/host.ts";
import { scratch, writeManifest } from "../fixtures/program.ts";
import { startUpstream } from "../fixtures/upstream.ts";

const BARE = /^[0-9a-f]{64}$/;
const WHOLE = /^sha256:[0-9a-f]{64}$/;

/** Every text in a JSON value, under the key that it stands at; in a list, that of the list. */
function* textsIn(value: unknown, key = ""): Generator<[string, string]> {
  if (typeof value === "string") yield [key, value];
  else if (Array.isArray(value)) for (const it of value) yield* textsIn(it, key);
  else if (value !== null && typeof value === "object")
    for (const [name, it] of Object.entries(value)) yield* textsIn(it, name);
}

t.test("from plan to status", async (t) => {
  const dir = scratch(t);
  const upstream = await startUpstream({ files: new Map([["/a", "one"]]) });
  t.teardown(() => upstream.close());
  writeManifest(dir, { files: [{ url: `${upstream.url}/a` }] }, "m.yaml");
  await airferry(dir, ["keygen", "--out", "k"]);
  await airferry(dir, ["lock", "m.yaml"]);
  const digests = new Map<string, string>();
  for (const [verb, ...args] of [
    ["plan", "m.yaml"],
    ["pack", "m.yaml", "--unsigned", "--out", "out"],
    ["sign", "out/test-000001", "--key", "k.key"],
    ["inspect", "out/test-000001"],
    ["verify", "out/test-000001", "--trust", "k.pub"],
    ["unpack", "out/test-000001", "--store", "store", "--trust", "k.pub"],
    ["status", "--store", "store", "--check"],
  ] as [string, ...string[]][]) {
    const { status, stdout, stderr } = await airferry(dir, [verb, ...args, "--json"]);
    t.equal(status, 0, `${verb}: ${stderr}`);
    const texts = [...textsIn(JSON.parse(stdout))];
    const bare = texts.filter(([key, text]) => BARE.test(text) && !/^(?:keyid|signers)$/i.test(key));
    t.same(bare, [], `${verb}: no bare hex`);
    const digest = texts.find(([key]) => key === "digest")?.[1];
    if (digest !== undefined) digests.set(verb, digest);
  }
  t.ok([...digests.values()].every((it) => WHOLE.test(it)));
  const ofBundle = ["pack", "sign", "inspect", "verify"].map((it) => digests.get(it));
  t.equal(new Set(ofBundle).size, 1, `one bundle, one digest: ${ofBundle.join(" ")}`);
  t.match(ofBundle[0], WHOLE);
});
