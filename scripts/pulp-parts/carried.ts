/** What is synced: a signed RPM repository, files and an image with platforms left out, packed, unpacked and served. */
import type { ChildProcess } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TestImages } from "../../test/fixtures/images.ts";
import { writeKeyPairs } from "../../test/fixtures/keys.ts";
import { start, writeManifest } from "../../test/fixtures/program.ts";
import { buildRpmTree } from "../../test/fixtures/rpm-tree.ts";
import { startUpstream, type UpstreamFile } from "../../test/fixtures/upstream.ts";

/** A server that runs. */
interface Carried {
  url: string;
  stop(): Promise<void>;
}

/** The image's name at the registry, without its tag. */
export const IMAGE = "quay.io/sample/tool";

/** Carries it across, in `dir`. */
export async function carry(dir: string): Promise<Carried> {
  const tree = await buildRpmTree(join(dir, "tree"));
  const upstream = await startUpstream({
    files: new Map<string, UpstreamFile>([...tree.served("base"), ["/key", tree.key]]),
  });
  mkdirSync(join(dir, "layout"));
  const images = new TestImages();
  const index = images.index(["linux/amd64", "linux/arm64"].map((it) => images.image(it, [{ "etc/motd": `${it}\n` }])));
  images.writeLayout(join(dir, "layout"), { [`${IMAGE}:1`]: index });
  writeFileSync(join(dir, "tool.tgz"), Buffer.alloc(3_000_000, "tool"));
  writeFileSync(join(dir, "harden.sh"), "#!/bin/sh\n");
  writeManifest(dir, {
    stream: "pulp",
    rpms: [{ name: "base", url: `${upstream.url}/base/`, keys: [`${upstream.url}/key`] }],
    files: [{ path: "tool.tgz" }, { path: "harden.sh", as: "scripts, and more/härten.sh" }],
    images: [{ archive: "layout", platforms: ["linux/amd64"] }],
  });
  await writeKeyPairs(dir);
  const run = async (...args: string[]): Promise<string> => {
    const { status, stdout, stderr } = await start(dir, args).done;
    if (status !== 0) throw new Error(`airferry ${args.join(" ")}: ${stderr}`);
    return stdout.trim().split("\n").at(-1) ?? "";
  };
  try {
    const bundle = await run("pack", "m.yaml", "--key", "k.key");
    await run("unpack", bundle, "--trust", "k.pub", "--store", "store");
  } finally {
    await upstream.close();
  }
  const server = start(dir, ["serve", "--store", "store", "--listen", "127.0.0.1:0", "--workers", "1"]);
  const url = await addressOf(server);
  return {
    url,
    async stop() {
      server.kill("SIGTERM");
      await server.done;
    },
  };
}

function addressOf(server: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    server.stdout?.on("data", (chunk: Buffer) => {
      text += chunk;
      const [url] = /http:\/\/127\.0\.0\.1:\d+/.exec(text) ?? [];
      if (url !== undefined) resolve(url);
    });
    server.on("exit", () => reject(new Error(`serve ended: ${text}`)));
  });
}
