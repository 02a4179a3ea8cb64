/** Command lines that are wrong: what was meant, and the command that is right, as far as it can be known. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { airferry } from "../fixtures/host.ts";
import { scratch } from "../fixtures/program.ts";

t.test("a wrong word, a missing option and a wrong kind of path are told with the right command", async (t) => {
  const dir = scratch(t);
  writeFileSync(join(dir, "a"), "x");
  mkdirSync(join(dir, "my folder"));
  const url = "http://192.0.2.1:9000";
  const rows: [args: string[], status: number, message: RegExp, hint: RegExp][] = [
    [
      ["render", "talos", "--store", "s t", "--url", url],
      2,
      /<what> "talos": expected one of imageconfig,/,
      /airferry render talos-mirrors --store 's t' --url http/,
    ],
    [["render", "xyz", "--store", "s", "--url", url], 2, /"xyz": expected one of/, /airferry render --help$/],
    [
      ["unpack", "my folder", "--trust", "k.pub"],
      2,
      /required option '--store <dir>' not specified/,
      /airferry unpack 'my folder' --trust k\.pub --store DIR$/,
    ],
    [["journal"], 2, /required option '--store <dir>'/, /airferry journal verify --store DIR$/],
    [["unpack", "--quiet"], 2, /required option '--store <dir>'/, /airferry unpack BUNDLE --quiet --store DIR/],
    [["keygen", "my key"], 2, /required option '--out <prefix>'/, /airferry keygen --out 'my key'$/],
    [["keygen", "a", "b"], 2, /required option '--out <prefix>'/, /airferry keygen --out PREFIX$/],
    [
      ["pack", "m.yaml", "--key", "a", "--key", "b"],
      2,
      /'b' is invalid\. .*one run signs with one key/,
      /airferry pack --help$/,
    ],
    [["pakc", "m.yaml"], 2, /unknown command 'pakc': did you mean pack\?$/m, /airferry pack m\.yaml$/],
    [["help", "pakc"], 2, /unknown command 'pakc': did you mean pack\?$/m, /airferry help pack$/],
    [["frobnicate"], 2, /unknown command 'frobnicate'$/m, /airferry --help$/],
    [
      ["unpack", "x", "--stroe", "a b"],
      2,
      /unknown option '--stroe': did you mean --store\?$/m,
      /unpack x --store 'a b'$/,
    ],
    [["unpack", "x", "--stroe=a"], 2, /unknown option '--stroe': did you mean --store\?$/m, /unpack x --store=a$/],
    [["pack", "m.yaml", "--vol", "dvd"], 2, /unknown option '--vol': did you mean --volume-size/, /--volume-size dvd$/],
    [["pack", "-x", "m.yaml"], 2, /unknown option '-x'$/m, /airferry pack --help$/],
    [
      ["pack", "m", "--progress=jsno"],
      2,
      /--progress "jsno": expected one of auto.*: did you mean json\?$/m,
      /pack m --progress=json$/,
    ],
    [["inspect", "b", "--bom", "pdf"], 2, /--bom "pdf": expected one of cyclonedx, spdx, html$/m, /inspect --help$/],
    [["verify", "--trust", "k"], 2, /missing required argument 'bundle'$/m, /name the bundle before it$/],
    [["doctor"], 2, /required option '--url <base>'/, /airferry doctor --url BASE$/],
    [["init", "b", "--for", "rocky"], 2, /no such ready manifest/, /airferry init b --for rocky-9-capi$/],
    [["plan", "my folder"], 1, /cannot read manifest "my folder": it is a folder$/m, /give the manifest's file/],
    [["plan", "m.lock.json"], 2, /no such file/, /check the path/],
    [["init", "a"], 1, /cannot create folder "[^"]*a": a file of that name exists$/m, /give a folder, or another name/],
    [["sign", "nowhere", "--key", "k.key"], 1, /not a bundle's folder: no such file or folder$/m, /holds SHA256SUMS$/],
    [
      ["serve", "--store", "a", "--listen", "127.0.0.1:0"],
      1,
      /it is a file: expected a store's folder/,
      /give the folder/,
    ],
    [
      ["export", "image", "x:1", "--store", "my folder"],
      2,
      /expected one of --out FILE and --load/,
      /airferry export image x:1 --store 'my folder' --out image\.tar$/,
    ],
  ];
  for (const [args, status, message, hint] of rows) {
    const { stderr, status: got } = await airferry(dir, args);
    const name = args.join(" ");
    t.equal(got, status, `${name}: ${stderr}`);
    t.match(stderr, message, name);
    t.match(/^airferry: hint: (.*)$/m.exec(stderr)?.[1], hint, name);
    t.notMatch(stderr, /\bE[A-Z]{4,}: |Allowed choices|command-argument/, `${name}: in our words`);
  }
});

t.test("a lock that is given for its manifest is told as that", async (t) => {
  const dir = scratch(t);
  writeFileSync(join(dir, "my m.lock.json"), "{}");
  const { status, stderr } = await airferry(dir, ["plan", "my m.lock.json"]);
  t.equal(status, 2);
  t.match(stderr, /it is a lock: expected a manifest[\s\S]*hint: give the manifest next to it: 'my m\.yaml'/);
});

t.test("a URL that is none is one problem, not three", async (t) => {
  const dir = scratch(t);
  writeFileSync(join(dir, "m.yaml"), "apiVersion: airferry/v1\nstream: s\nfiles:\n  - url: nonsense\n");
  const { stderr } = await airferry(dir, ["plan", "m.yaml"]);
  t.match(stderr, /1 problem\n {2}m\.yaml:4 files\[0\]\.url: must be an http:\/\/ or https:\/\/ URL\n/);
});
