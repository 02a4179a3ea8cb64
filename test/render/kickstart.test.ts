/** Kickstart files as image-builder has them: templates filled in, sources rewritten, the account that packer logs in with. */
import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import t from "tap";
import { marksOf, placeholdersOf } from "../../src/builder/kickstart-template.ts";
import { digestOf } from "../../src/io/digest.ts";
import { renderBootIpxe } from "../../src/render/boot-ipxe.ts";
import { configFiles } from "../../src/render/config-files.ts";
import { checkKickstart, renderKickstart } from "../../src/render/kickstart.ts";
import { kickstartPaths } from "../../src/render/packer-boot.ts";
import { renderPackerVars } from "../../src/render/packer-vars.ts";
import { builderOf } from "../../src/render/view.ts";
import { clientEnv, needs } from "../fixtures/clients.ts";
import { shortDir } from "../fixtures/el-dvd.ts";
import { expand, type ImageBuilder, imageBuilders, isGenuine, kickstartFile } from "../fixtures/image-builder.ts";
import { EL_TREE, inputOf, makeRelease, rockyCapi } from "../fixtures/render-input.ts";

const run = promisify(execFile);
const STAGED = "/home/imagebuilder/output/";
const ENV = { AIRFERRY_SSH_PASSWORD: "s3cret-Pass" };

/** What a release of image-builder needs for its packer variables. */
const PARTS = [
  "files/ks.cfg",
  ...["kubeadm", "kubelet", "kubectl"].map((it) => `files/release/v1.33.4/bin/linux/amd64/${it}`),
  "files/cni/v1.6.0/cni-plugins-linux-amd64-v1.6.0.tgz",
  "files/containerd-2.1.4-linux-amd64.tar.gz",
  "files/containerd.service",
  "files/runc/v1.3.0/runc.amd64",
  "files/runc/v1.3.0/runc.sha256sum",
  "files/crictl-v1.33.0-linux-amd64.tar.gz",
  "files/goss/v0.3.23/goss-linux-amd64",
];

function releaseFor({ version, system }: Pick<ImageBuilder, "version" | "system">, more: object = {}) {
  const iso = system.replace("rockylinux", "rocky");
  return makeRelease(
    "ib",
    [...PARTS, `isos/${iso}.iso`],
    { isos: [{ name: iso, path: `isos/${iso}.iso` }] },
    { flavor: "image-builder", version, kickstart: "ks.cfg", ...more },
  );
}

function inputFor(of: Pick<ImageBuilder, "version" | "system">, env: Record<string, string> = ENV, more: object = {}) {
  const release = releaseFor(of, more);
  const iso = release.inventory.catalog.isos[0]!.path;
  return inputOf([release], { trees: new Map([[digestOf(iso), EL_TREE]]), env });
}

async function varsOf(input: ReturnType<typeof inputFor>, kickstart: string): Promise<Record<string, string>> {
  const file = configFiles(input, async () => kickstart).find((it) => it.name === "packer-vars")!;
  return JSON.parse(await file.make());
}

t.test("every version's kickstart files are rendered whole: nothing of upstream, nothing left open", async (t) => {
  t.ok(imageBuilders().length >= 10, isGenuine ? "the genuine files" : "our own");
  for (const it of imageBuilders()) {
    const text = renderKickstart(it.kickstart, inputFor(it));
    const name = `${it.version} ${it.system}`;
    t.match(text, /^url --url="http:\/\/192\.0\.2\.10:9000\/isos\/(rocky|rhel)-[89]\/"$/m, name);
    t.notMatch(text, /rockylinux\.org|mirror\.invalid|^cdrom/m, name);
    t.strictSame([...placeholdersOf(text), ...marksOf(text)], [], name);
    if (/SSH_PASSWORD/.test(it.kickstart)) t.match(text, /^user .*--password=s3cret-Pass /m, name);
    // Outside the lines that were rewritten, every byte is upstream's.
    const changed = it.kickstart.split("\n").filter((line, index) => text.split("\n")[index] !== line);
    for (const line of changed) t.match(line, /^(cdrom|repo |user )/, name);
  }
});

t.test("the frozen repository that image-builder v0.1.45 to v0.1.48 call devel is the BaseOS of the ISO", async (t) => {
  const line = 'repo --name="kickstart" --baseurl="http://x.invalid/pub/rocky/9/devel/x86_64/kickstart/"\n';
  const text = renderKickstart(line, inputFor({ version: "v0.1.47", system: "rockylinux-9" }));
  t.equal(text, 'repo --name="kickstart" --baseurl="http://192.0.2.10:9000/isos/rocky-9/BaseOS/"\n');
  t.throws(
    () =>
      renderKickstart('repo --name="devel" --baseurl="http://x.invalid/9/devel/x86_64/os/"\n', inputOf([rockyCapi()])),
    { code: "ERR_RENDER" },
    "the repository itself is another thing",
  );
});

t.test("ksvalidator accepts each rendered file for its system", async (t) => {
  if (!needs(t, "ksvalidator")) return;
  const dir = await shortDir(t);
  for (const major of ["8", "9"]) {
    const check = async (env: Record<string, string>) => {
      const files = [];
      for (const it of imageBuilders().filter(({ system }) => system.endsWith(major))) {
        const file = join(dir, `${it.version}-${it.system}.cfg`);
        // RHEL 8's own has two commands that its installer no longer knows.
        await writeFile(
          file,
          renderKickstart(it.kickstart, inputFor(it, env)).replace(/^(install|auth .*)$/gm, "# $1"),
        );
        if (env === ENV || /SSH_PASSWORD/.test(it.kickstart)) files.push(file);
      }
      return run("ksvalidator", ["-e", "-v", `RHEL${major}`, ...files], { env: clientEnv() }).then(
        () => ({ code: 0, said: "", files: files.length }),
        (error) => ({ code: error.code, said: `${error.stdout}${error.stderr}`, files: files.length }),
      );
    };
    t.match(await check(ENV), { code: 0, said: "" });
    const open = await check({});
    t.ok(open.files > 0 && open.code !== 0, "what is left open is refused by the installer's own parser");
    t.equal(open.said.match(/unrecognized arguments: IN: SSH_PASSWORD>/g)?.length, open.files, open.said);
  }
});

t.test("the boot command of every version's template leads to the staged kickstart file", async (t) => {
  for (const it of imageBuilders()) {
    const input = inputFor(it);
    const vars = await varsOf(input, it.kickstart);
    const name = `${it.version} ${it.system}`;
    const [release] = input.releases;
    const staged = ["ks.cfg", ...kickstartPaths(builderOf(release!)!, release!)].map((path) => `${STAGED}${path}`);
    t.ok(staged.includes(kickstartFile(it, vars) ?? "nowhere"), `${name}: ${kickstartFile(it, vars)}`);
    t.notOk(staged.includes(kickstartFile(it, {}) ?? "nowhere"), `${name}: not by itself`);
    // packer logs in as the account that the kickstart file makes, and switches off with its password.
    const all = { ...it.variables, ...vars };
    const account = /^user .*$/m.exec(renderKickstart(it.kickstart, input))![0];
    t.match(account, `--name=${expand(all.ssh_username!, all)}`, name);
    t.match(account, `--password=${expand(all.ssh_password!, all)} `, name);
    const builder = JSON.stringify(it.builder);
    if (isGenuine) {
      t.match(builder, "{{user `shutdown_command`}}", name);
      const unknown = Object.keys(vars).filter((key) => !it.known.has(key) && !MAY_BE_UNKNOWN.has(key));
      t.strictSame(unknown, [], `${name}: its templates know every variable`);
    }
  }
});
/** Ignored by versions that do not have them; rendered for those that do, by one text for all of a range. */
const MAY_BE_UNKNOWN = new Set(["cd_label", "cd_content_location", "kubernetes_cni_http_checksum"]);

t.test("without the secret, packer is not left to make one up", async (t) => {
  const ks = "user --name=builder --password=$SSH_PASSWORD --plaintext\n";
  const of = { version: "v0.1.47", system: "rockylinux-9" };
  t.equal((await varsOf(inputFor(of, {}), ks)).ssh_password, "<FILL IN: SSH_PASSWORD>");
  t.equal((await varsOf(inputFor(of), ks)).ssh_password, ENV.AIRFERRY_SSH_PASSWORD);
  t.equal((await varsOf(inputFor(of), "user --name=me --password=pw --plaintext\n")).ssh_username, "me");
});

t.test("an account that packer does not use is an error, of a template and of a finished file", async (t) => {
  const spectro = (ks: string, env: Record<string, string> = {}, more: object = {}) =>
    checkKickstart(ks, inputOf([rockyCapi({ version: "v4.6.23", ...more })], { env })).map(
      (it) => `${it.level}: ${it.message}`,
    );
  const finished = (password: string) => `user --name=builder --password=${password} --plaintext --groups=wheel\n`;
  t.strictSame(spectro(finished("builder")), []);
  t.match(spectro(finished("other")), [/^error: .*another password than packer logs in with \(CAPI builder 4\.6/]);
  t.match(spectro("user --name=me --password=builder --plaintext\n"), [
    /^error: packer logs in as builder.*creates me/,
  ]);
  t.match(spectro(`${finished("builder").trim()} --lock\n`), [/^error: .*locks/]);
  t.match(spectro("text\n"), [/^warning: .*creates no account/]);
  t.strictSame(spectro("user --name=builder --iscrypted --password=$6$abc$DEF.ghi\n"), [], "a hash cannot be compared");
  const template = finished("$SSH_PASSWORD");
  t.match(spectro(template), [/^error: the kickstart file is a template: \$SSH_PASSWORD in line 1 is not filled in/]);
  t.match(spectro(template, { AIRFERRY_SSH_PASSWORD: "other" }), [/^error: .*another password/]);
  t.strictSame(spectro(template, { AIRFERRY_SSH_PASSWORD: "builder" }), []);
  t.strictSame(
    spectro(finished("x"), {}, { packer_vars: { ssh_password: "x" } }),
    [],
    "the manifest may say what packer uses",
  );
  t.notMatch(JSON.stringify(spectro(finished("hunter2"))), /hunter2/, "no password in a message");
});

t.test("packer variables keep what the manifest says about roles and shutdown", async (t) => {
  const packer_vars = { node_custom_roles_pre: "mine", shutdown_command: "/sbin/halt -h -p" };
  const release = releaseFor(
    { version: "v0.1.55", system: "rhel-9" },
    { packer_vars, custom_scripts: { post: ["x.sh"] } },
  );
  const vars = JSON.parse(renderPackerVars(inputOf([release]))) as Record<string, string>;
  t.match(vars, {
    node_custom_roles_pre: `${STAGED}roles/airferry_pre mine`,
    node_custom_roles_post: `${STAGED}roles/airferry_post`,
    shutdown_command: "{ sh /etc/airferry-guest/undo.sh; /sbin/halt -h -p; }",
  });
  t.notOk("http_directory" in vars, "without a kickstart file there is nothing to boot with");
});

t.test("boot.ipxe does not boot with a kickstart file that is still a template", async (t) => {
  const make = (text: string) =>
    configFiles(inputOf([rockyCapi()]), async () => text)
      .find((it) => it.name === "boot-ipxe")!
      .make();
  t.match(await make("cdrom\n"), /inst\.ks=/);
  const open = await make("user --name=b --password=$SSH_PASSWORD\n");
  t.notMatch(open, /^kernel .*inst\.ks=/m);
  t.match(open, /# .*SSH_PASSWORD/);
  t.type(renderBootIpxe(inputOf([rockyCapi()])), "string");
});
