/** src/stage.ts: who can read and change what is staged, what is never replaced, and what is refused. */
import { spawnSync } from "node:child_process";
import { chmod, chown, link, mkdir, readdir, readFile, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import { type StageOptions, stage } from "../../src/stage.ts";
import { shortDir } from "../fixtures/el-dvd.ts";
import { createTestStore, type TestStore } from "../fixtures/store-reader.ts";

const URL_HTTP = "http://192.0.2.10:9000";
const isRoot = process.getuid?.() === 0;
const asRoot = isRoot ? {} : { skip: "owners need root" };
const BUILDER = {
  flavor: "image-builder",
  version: "v0.1.47",
  kickstart: "ks.cfg",
  custom_scripts: { pre: ["pre/harden.sh"], post: [] },
  packer_vars: { kubernetes_semver: "v1.33.4", goss_skip_install: "true" },
};
const KICKSTART = "cdrom\nuser --name=builder --password=builder --plaintext\n";
const TEMPLATE = KICKSTART.replace("=builder --plaintext", "=$SSH_PASSWORD --plaintext");
const CONTENT: Record<string, string> = {
  "isos/rocky-9.iso": "an image",
  "files/ks.cfg": KICKSTART,
  "files/pre/harden.sh": "#!/bin/sh\n",
  ...Object.fromEntries(
    ["kubeadm", "kubelet", "kubectl"].map((it) => [`files/release/v1.33.4/bin/linux/amd64/${it}`, it]),
  ),
  "files/cni/v1.6.0/cni-plugins-linux-amd64-v1.6.0.tgz": "cni",
  "files/containerd-2.1.4-linux-amd64.tar.gz": "containerd",
  "files/containerd.service": "unit",
  "files/runc.amd64": "runc",
  "files/crictl-v1.33.0-linux-amd64.tar.gz": "crictl",
};

interface Made {
  store: TestStore;
  dir: string;
  at(path: string): string;
  run(more?: Partial<StageOptions>): ReturnType<typeof stage>;
  /** Another release of the same stream. */
  put(content: Record<string, string>, builder?: object): Promise<void>;
}

async function make(t: Test, content: Record<string, string> = {}, builder: object = {}): Promise<Made> {
  const base = await shortDir(t);
  // A folder that every user may look into.
  await chmod(base, 0o755);
  const store = createTestStore(join(base, "store"));
  const dir = join(base, "output");
  let serial = 0;
  const put = async (more: Record<string, string>, and: object = {}) => {
    const all = { ...CONTENT, ...more };
    const isos = [{ name: "rocky-9", path: "isos/rocky-9.iso" }];
    const release = await store.put({ stream: "m", serial: ++serial, content: all, catalog: { isos } });
    release.inventory.builder = { ...BUILDER, ...and };
  };
  await put(content, builder);
  return {
    store,
    dir,
    put,
    at: (path) => join(dir, path),
    run: (more = {}) => stage(dir, { store, url: URL_HTTP, env: {}, ...more }),
  };
}

async function refusal(promise: Promise<unknown>) {
  return promise.then(
    () => undefined,
    (error) => ({
      code: error.code,
      message: error.message,
      hint: error.hint,
      paths: error.problems.map((it: { path: string }) => it.path),
    }),
  );
}
const modeOf = async (path: string) => ((await stat(path)).mode & 0o7777).toString(8);
const ownerOf = async (path: string) => (await stat(path)).uid;

t.test(
  "as root, everything belongs to the builder's user, which alone can write and read secrets",
  asRoot,
  async (t) => {
    const made = await make(t, { "files/ks.cfg": TEMPLATE });
    const { files } = await made.run({ env: { AIRFERRY_SSH_PASSWORD: "s3cret" } });
    for (const path of [...files, "", "custom_scripts", "custom_scripts/pre", "http/9", "roles/airferry_pre/tasks"]) {
      t.equal(await ownerOf(made.at(path)), 1000, path);
      t.equal((await stat(made.at(path))).mode & 0o022, 0, `${path}: nobody else writes`);
    }
    for (const path of ["ks.cfg", "http/9/ks.cfg", "packer-vars.json"]) {
      t.match(await readFile(made.at(path), "utf8"), /s3cret/, path);
      t.equal(await modeOf(made.at(path)), "600", path);
    }
    t.equal(await modeOf(made.at("airferry.repo")), "644");
    t.equal(await modeOf(made.at("custom_scripts/pre/00-airferry-guest.sh")), "755");
    t.equal(await modeOf(made.dir), "755");
    const asUser = (uid: number, script: string) =>
      spawnSync("setpriv", [`--reuid=${uid}`, `--regid=${uid}`, "--clear-groups", "sh", "-c", script], {
        cwd: made.dir,
      }).status;
    t.equal(asUser(1000, "cat ks.cfg packer-vars.json && mkdir rocky-9-kube && touch rocky-9-kube/x.ova"), 0);
    t.not(asUser(65534, "cat ks.cfg"), 0);
    t.not(asUser(65534, "mv ks.cfg x || rm airferry.repo || touch new || touch custom_scripts/pre/evil.sh"), 0);

    await made.run({ env: { AIRFERRY_SSH_PASSWORD: "s3cret" }, builderUid: 4321 }).then(
      () => t.fail("the folder of another builder"),
      (error) => t.match(error, { code: "ERR_USAGE", message: /another user/ }),
    );
    const other = await make(t);
    await other.run({ builderUid: 4321 });
    t.equal(await ownerOf(other.at("ks.cfg")), 4321);
  },
);

t.test("a folder that others could write to is closed, or refused where it is not the builder's alone", async (t) => {
  const made = await make(t);
  await mkdir(made.dir);
  await chmod(made.dir, 0o777);
  await made.run();
  t.equal(await modeOf(made.dir), isRoot ? "755" : "1777");

  const shared = await make(t);
  await mkdir(shared.dir);
  await writeFile(shared.at("notes.txt"), "somebody's");
  await chmod(shared.dir, 0o777);
  t.match(await refusal(shared.run()), { code: "ERR_USAGE", message: /other users can write there/ });
  t.strictSame(await readdir(shared.dir), ["notes.txt"]);
  await chmod(shared.dir, 0o755);
  const { notes } = await shared.run();
  t.match(notes.join("\n"), /keeps its owner and mode: uid 1000, the builder/);
  t.equal(await ownerOf(shared.dir), process.getuid?.(), "a home, or /srv, is given to nobody");
});

t.test("another user's folders and links are refused, and nothing is written through them", async (t) => {
  const made = await make(t);
  await made.run();
  const victim = join(made.dir, "../victim");
  await mkdir(victim);
  await rename(made.at("custom_scripts"), made.at("old"));
  await mkdir(made.at("custom_scripts"));
  await symlink(victim, made.at("custom_scripts/pre"));
  t.match(await refusal(made.run()), { code: "ERR_PATH_UNSAFE", message: /custom_scripts\/pre.* is a link/ });
  t.match(await refusal(made.run({ force: true })), { code: "ERR_PATH_UNSAFE" });
  t.strictSame(await readdir(victim), []);
  if (!isRoot) return;
  await rm(made.at("custom_scripts"), { recursive: true });
  await mkdir(made.at("custom_scripts"));
  await chown(made.at("custom_scripts"), 65534, 65534);
  t.match(await refusal(made.run()), { code: "ERR_USAGE", message: /custom_scripts.*another user/ });
  // A file that somebody planted, with the right content: they could still change it.
  await chown(made.at("custom_scripts"), 1000, 1000);
  await chown(made.at("ks.cfg"), 65534, 65534);
  const before = (await stat(made.at("ks.cfg"))).ino;
  await made.run();
  t.not((await stat(made.at("ks.cfg"))).ino, before);
  t.equal(await ownerOf(made.at("ks.cfg")), 1000);
  // A second name of a file elsewhere is not given away.
  await writeFile(join(victim, "shadow"), await readFile(made.at("ks.cfg")), { mode: 0o600 });
  await rm(made.at("ks.cfg"));
  await link(join(victim, "shadow"), made.at("ks.cfg"));
  await made.run();
  t.match(await stat(join(victim, "shadow")), { uid: 0, nlink: 1 });
});

t.test("what somebody changed is never replaced unasked; what stage itself wrote is", async (t) => {
  const made = await make(t);
  await made.run();
  const edited = `${await readFile(made.at("ks.cfg"), "utf8")}# ours\n`;
  await writeFile(made.at("ks.cfg"), edited);
  await writeFile(made.at("packer-vars.json"), "{}");
  await made.put({ "isos/rocky-9.iso": "another image" });
  const refused = await refusal(made.run());
  t.match(refused, { code: "ERR_USAGE", message: /"packer-vars\.json", "ks\.cfg"/, hint: /--force/ });
  t.strictSame(refused?.paths, ["packer-vars.json", "ks.cfg"]);
  t.equal(await readFile(made.at("rocky-9.iso"), "utf8"), "an image", "nothing at all was written");
  t.equal(await readFile(made.at("ks.cfg"), "utf8"), edited);
  await made.run({ force: true });
  t.not(await readFile(made.at("ks.cfg"), "utf8"), edited);
  t.equal(await readFile(made.at("rocky-9.iso"), "utf8"), "another image");

  // The next release: everything is stage's own again, and its old script is gone.
  await made.put(
    { "isos/rocky-9.iso": "a third", "files/pre/other.sh": "#!/bin/sh\n", "files/ks.cfg": `${KICKSTART}text\n` },
    { custom_scripts: { pre: ["pre/other.sh"], post: [] } },
  );
  await made.run();
  t.strictSame((await readdir(made.at("custom_scripts/pre"))).sort(), ["00-airferry-guest.sh", "other.sh"]);
  t.match(await readFile(made.at("ks.cfg"), "utf8"), /^text$/m);
  const { ino } = await stat(made.at("rocky-9.iso"));
  await made.run();
  t.equal((await stat(made.at("rocky-9.iso"))).ino, ino, "what is right stays as it is");

  // A run that was stopped halfway left some files of the new release, and its temporary folder.
  await mkdir(made.at(".airferry-0123456789abcdef"));
  await made.put({ "files/ks.cfg": `${KICKSTART}skipx\n` });
  await made.run();
  t.notOk((await readdir(made.dir)).includes(".airferry-0123456789abcdef"));
});

t.test("a file that is there but was never staged is somebody's", async (t) => {
  const made = await make(t);
  await mkdir(made.dir);
  await writeFile(made.at("ks.cfg"), "mine\n");
  t.match(await refusal(made.run()), { code: "ERR_USAGE", paths: ["ks.cfg"] });
  await rm(made.at("ks.cfg"));
  await symlink("/dev/null", made.at("ks.cfg"));
  t.match(await refusal(made.run()), { code: "ERR_USAGE", paths: ["ks.cfg"] }, "a link is no file of ours either");
  await made.run({ force: true });
  t.equal(await readFile("/dev/null", "utf8"), "");
  t.ok((await stat(made.at("ks.cfg"))).size > 0);
});

t.test("a template that is not filled in, and a kickstart file that cannot be rendered, are refused", async (t) => {
  const template = await make(t, { "files/ks.cfg": TEMPLATE });
  const open = await refusal(template.run());
  t.match(open, {
    code: "ERR_RENDER",
    message: /\$SSH_PASSWORD in line 2 is not filled in/,
    hint: /AIRFERRY_SSH_PASSWORD/,
  });
  t.rejects(stat(template.dir), "nothing was begun");
  const unserved = await make(t, {
    "files/ks.cfg": `${KICKSTART}repo --name=epel --baseurl=https://e.invalid/epel/9/\n`,
  });
  t.match(await refusal(unserved.run()), { code: "ERR_RENDER", message: /needs repository "epel"/ });
  const missing = await make(t, {}, { kickstart: "other.cfg" });
  t.match(await refusal(missing.run()), { code: "ERR_RENDER", message: /no template was packed/ });
  const several = await make(t, { "files/x/ks.cfg": "text\n" }, { kickstart: undefined });
  t.match(await refusal(several.run()), { code: "ERR_RENDER", message: /several templates/ });
  const bad = await make(t, { "files/ks.cfg": TEMPLATE });
  for (const value of ["a'b", "a b", "a\\b", "x{{y", "a\nb"])
    t.match(
      await refusal(bad.run({ env: { AIRFERRY_SSH_PASSWORD: value } })),
      { code: "ERR_RENDER" },
      JSON.stringify(value),
    );
});

t.test("two files under one name, and names of stage's own, are refused", async (t) => {
  const same = await make(
    t,
    { "files/a/x.sh": "1", "files/b/X.sh": "2" },
    { custom_scripts: { pre: ["a/x.sh", "b/X.sh"] } },
  );
  t.match(await refusal(same.run()), { code: "ERR_PATH_UNSAFE", message: /is staged under that name too/ });
  const guest = await make(
    t,
    { "files/00-airferry-guest.sh": "1" },
    { custom_scripts: { pre: ["00-airferry-guest.sh"] } },
  );
  t.match(await refusal(guest.run()), { code: "ERR_PATH_UNSAFE" });
});

t.test("without the CA that the machine needs, nothing is staged", async (t) => {
  const made = await make(t);
  const url = "https://192.0.2.10:9000";
  t.match(await refusal(made.run({ url })), { code: "ERR_USAGE", message: /its own CA/, hint: /--ca ca\.crt/ });
  await made.run({ url, ca: "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n" });
  t.match(await readFile(made.at("custom_scripts/pre/00-airferry-guest.sh"), "utf8"), /BEGIN CERTIFICATE/);
  await (await make(t)).run({ url, publicCa: true });
});

t.test(
  "another user without root: readable for the builder, replaceable by nobody, and no secrets",
  asRoot,
  async (t) => {
    const made = await make(t, { "files/ks.cfg": TEMPLATE });
    const home = join(made.dir, "../home");
    await mkdir(home);
    await chown(home, 12345, 12345);
    const script = `import { stage } from ${JSON.stringify(join(import.meta.dirname, "../../src/stage.ts"))};
    import { createTestStore } from ${JSON.stringify(join(import.meta.dirname, "../fixtures/store-reader.ts"))};
    import { EntryTable } from ${JSON.stringify(join(import.meta.dirname, "../../src/bundle/entry-table.ts"))};
    const release = JSON.parse(process.argv[3]);
    const entries = EntryTable.from(release.inventory.entries);
    const store = { ...createTestStore(process.argv[2]), releases: async () => [{ ...release, inventory: { ...release.inventory, entries }, entries }] };
    await stage(process.argv[1], { store, url: ${JSON.stringify(URL_HTTP)}, env: JSON.parse(process.argv[4]), builderUid: Number(process.argv[5]) }).catch((error) => { console.log(error.code, error.message); process.exitCode = 1; });`;
    const [release] = await made.store.releases();
    const asOther = (env: object, builderUid: number) => {
      const args = [
        join(home, "output"),
        made.store.dir,
        JSON.stringify({ ...release, entries: undefined }),
        JSON.stringify(env),
        String(builderUid),
      ];
      const node = [process.execPath, "--no-warnings", "--input-type=module-typescript", "-e", script, ...args];
      const ran = spawnSync(
        "env",
        ["-u", "NODE_OPTIONS", "setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", ...node],
        {
          encoding: "utf8",
          cwd: home,
          env: {},
        },
      );
      return { status: ran.status, out: `${ran.stdout}${ran.stderr}` };
    };
    const secret = { AIRFERRY_SSH_PASSWORD: "s3cret" };
    t.match(asOther(secret, 1000), { status: 1, out: /^ERR_USAGE .*without letting everybody read them/ });
    t.match(asOther(secret, 12345), { status: 0, out: "" }, "a container that runs as the user itself");
    t.equal(await modeOf(join(home, "output/ks.cfg")), "600");
    await rm(join(home, "output"), { recursive: true });
    await made.put({ "files/ks.cfg": KICKSTART });
    Object.assign(release!, (await made.store.releases())[0]);
    t.match(asOther({}, 1000), { status: 0, out: "" });
    t.equal(await modeOf(join(home, "output")), "1777");
    const inside = (uid: number, command: string) =>
      spawnSync("setpriv", [`--reuid=${uid}`, `--regid=${uid}`, "--clear-groups", "sh", "-c", command], {
        cwd: join(home, "output"),
      }).status;
    t.equal(
      inside(1000, "cat ks.cfg imageconfig packer-vars.json http/9/ks.cfg >/dev/null 2>&1; cat ks.cfg && mkdir result"),
      0,
    );
    t.not(inside(65534, "mv ks.cfg x || rm ks.cfg || mv custom_scripts y || touch custom_scripts/pre/z"), 0);
  },
);
