/**
 * dnf, aria2 with ranges, ansible-galaxy and git, recorded and rehearsed by the same commands. What is taken out of the
 * recording is named.
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import type { RequestListener } from "node:http";
import { join } from "node:path";
import t, { type Test } from "tap";
import { clientEnv, needs } from "../fixtures/clients.ts";
import { git, gitListener, hasGitBackend } from "../fixtures/git-upstream.ts";
import { onOwnMachine } from "../fixtures/own-machine.ts";
import { scratch, seededBytes } from "../fixtures/program.ts";
import { recordAndRehearse, recordLab } from "../fixtures/record-lab.ts";
import { buildRpmTree, RPM_BUILDERS } from "../fixtures/rpm-tree.ts";
import { startUpstream, type UpstreamFile } from "../fixtures/upstream.ts";

/** A collection as `ansible-galaxy collection build` makes it, and the API of a galaxy that has it. */
function galaxy(dir: string): RequestListener {
  const run = (...args: string[]) =>
    execFileSync("ansible-galaxy", ["collection", ...args], { cwd: dir, env: clientEnv({ ANSIBLE_HOME: dir }) });
  run("init", "lab.tools");
  run("build", "lab/tools");
  const tar = readFileSync(join(dir, "lab-tools-1.0.0.tar.gz"));
  const base = "https://galaxy.lab.example";
  const versions = "/api/v3/collections/lab/tools/versions/";
  const documents: Record<string, unknown> = {
    "/api/v3/collections/lab/tools/": {
      namespace: "lab",
      name: "tools",
      created_at: "2026-11-01T00:00:00Z",
      updated_at: "2026-11-01T00:00:00Z",
    },
    "/api/": { available_versions: { v3: "v3/" } },
    [versions]: { meta: { count: 1 }, links: { next: null }, data: [{ version: "1.0.0", href: `${versions}1.0.0/` }] },
    [`${versions}1.0.0/`]: {
      version: "1.0.0",
      href: `${versions}1.0.0/`,
      namespace: { name: "lab" },
      collection: { name: "tools" },
      download_url: `${base}/download/lab-tools-1.0.0.tar.gz`,
      artifact: { sha256: createHash("sha256").update(tar).digest("hex"), size: tar.length },
      metadata: { dependencies: {} },
      signatures: [],
    },
  };
  return (request, response) => {
    const { pathname } = new URL(request.url ?? "/", base);
    const document = documents[pathname];
    if (document !== undefined)
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(document));
    else if (pathname.startsWith("/download/")) response.end(tar);
    else response.writeHead(404, { "content-type": "application/json" }).end("{}");
  };
}

/** Hands requests on to a plain upstream, which knows ranges and validators. */
async function filesListener(t: Test, files: Map<string, UpstreamFile>): Promise<RequestListener> {
  const upstream = await startUpstream({ files });
  t.teardown(() => upstream.close());
  const { request: ask } = await import("node:http");
  // As clients spell paths, and as the upstream does.
  const paths = new Map([...files.keys()].map((it) => [decodeURIComponent(it), it]));
  return (request, response) => {
    const path = paths.get(decodeURIComponent(request.url ?? "/")) ?? request.url;
    const onward = ask(`${upstream.url}${path}`, { method: request.method, headers: request.headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    onward.end();
  };
}

/** Upstream's own lines: three repositories, one of them by a list of mirrors, and a module in it. */
const DNF = `rm -rf root cache
dnf="dnf -q -y --config=dnf.conf --installroot=$PWD/root --releasever=9 --forcearch=x86_64 --setopt=module_platform_id=platform:el9"
$dnf module enable aftweb:2
$dnf install aft-app aft-web aft-data
grep -q "module 2" root/usr/share/aft/web
`;
const ARIA2 = `rm -f big-*
aria2c -q --no-conf https://dl.lab.example/big-1.0.sum
aria2c -q --no-conf -x4 -s4 -k1M https://dl.lab.example/big-1.0.bin
sha256sum -c big-1.0.sum
`;
const GALAXY = `rm -rf collections galaxy-home
ANSIBLE_HOME=$PWD/galaxy-home ansible-galaxy collection install -s https://galaxy.lab.example/api/ -p collections lab.tools:1.0.0
test -f collections/ansible_collections/lab/tools/MANIFEST.json
`;
const GIT = `rm -rf clone
git clone -q https://git.lab.example/other.git clone; rm -rf clone
git clone -q https://git.lab.example/tool.git clone
git -C clone log --oneline
`;

const tools = ["dnf", "aria2c", "ansible-galaxy", "git", ...RPM_BUILDERS];
if ((await onOwnMachine(t, import.meta.filename)) && needs(t, ...tools) && hasGitBackend()) {
  t.test("dnf, aria2, ansible-galaxy and git", async (t) => {
    const up = scratch(t, "up");
    const tree = await buildRpmTree(join(up, "tree"));
    const big = seededBytes(7, 5 * 1024 * 1024);
    mkdirSync(join(up, "git"));
    git(
      join(up, "git"),
      `git init -q -b main work; cd work; echo a > a; git add a; git commit -qm one
       cd ..; for it in tool other; do git clone -q --mirror work $it.git; done`,
    );
    const lab = await recordLab(t, {
      "repo.lab.example": await filesListener(
        t,
        new Map([...["base", "app", "multi"].flatMap((it) => [...tree.served(it)]), ["/key", tree.key]]),
      ),
      "mirrors.lab.example": (request, response) => {
        const isThere = request.url === "/list?repo=app-9&arch=x86_64";
        response.writeHead(isThere ? 200 : 404).end("https://repo.lab.example/app/\n");
      },
      "dl.lab.example": await filesListener(
        t,
        new Map<string, UpstreamFile>([
          ["/big-1.0.bin", big],
          ["/big-1.0.sum", `${createHash("sha256").update(big).digest("hex")}  big-1.0.bin\n`],
        ]),
      ),
      "galaxy.lab.example": galaxy(up),
      "git.lab.example": gitListener(join(up, "git")),
    });
    const section = (name: string, where: string) =>
      `[${name}]\nname=${name}\n${where}\ngpgcheck=1\nrepo_gpgcheck=${Number(name === "base")}\ngpgkey=https://repo.lab.example/key\n`;
    writeFileSync(
      join(lab.dir, "dnf.conf"),
      `[main]\nplugins=0\nreposdir=/dev/null\ncachedir=${lab.dir}/cache\nlogdir=${lab.dir}\n` +
        section("base", "baseurl=https://repo.lab.example/base/") +
        section("app", "mirrorlist=https://mirrors.lab.example/list?repo=app-$releasever&arch=$basearch") +
        section("multi", "baseurl=https://repo.lab.example/multi/"),
    );
    await recordAndRehearse(t, lab, [
      ["dnf", DNF, /\/aft-web-2\.0.*\.rpm$/],
      ["aria2", ARIA2, /big-1\.0\.bin$/, "https://dl.lab.example/big-1.0.sum"],
      ["galaxy", GALAXY, /\/download\/lab-tools/],
      ["git", GIT, /git\.lab\.example\/tool/],
    ]);
  });
}
