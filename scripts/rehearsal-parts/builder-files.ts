/**
 * Files of kubernetes-sigs/image-builder, which both flavors are built from: kickstart files, packer templates,
 * variables. The original files of five tags if `../shared/fixtures/image-builder` (or AIRFERRY_IMAGE_BUILDER) has
 * them; otherwise files with the same traits, so that the rehearsal runs in any checkout.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { compareVersions } from "../../src/builder/artifacts.ts";

const GENUINE =
  process.env.AIRFERRY_IMAGE_BUILDER ?? join(import.meta.dirname, "../../../shared/fixtures/image-builder");

/** An installed system, by its name in image-builder's files. */
export interface System {
  distro: "rhel" | "rockylinux";
  major: "8" | "9";
}

/** Variables of a JSON template; `null` ones must be given. */
export type Variables = Record<string, string | null>;

/** Whether the original files of this tag are available. */
export function isGenuine(tag: string): boolean {
  return existsSync(join(GENUINE, tag));
}

/** This tag, and the earlier ones whose original files are available. */
export function tagsUpTo(tag: string): string[] {
  const genuine = existsSync(GENUINE) ? readdirSync(GENUINE) : [];
  return [...new Set([...genuine.filter((it) => compareVersions(it, tag) < 0), tag])];
}

/**
 * Bytes of a kickstart file, for example at `ova/linux/rhel/http/8/ks.cfg`, of this tag or of the latest one before it.
 */
export function kickstartFile(tag: string, path: string): Buffer {
  const genuine = existsSync(GENUINE) ? readdirSync(GENUINE).sort(compareVersions) : [];
  const nearest = genuine.findLast((it) => compareVersions(it, tag) <= 0 && existsSync(join(GENUINE, it, path)));
  if (nearest !== undefined) return readFileSync(join(GENUINE, nearest, path));
  const match = /^ova\/linux\/(rhel|rockylinux)\/http\/([89])\/ks\.cfg(\.tmpl)?$/.exec(path);
  if (match === null) throw new Error(`no kickstart file ${path} of image-builder ${tag}`);
  return Buffer.from(ownKickstart(tag, { distro: match[1], major: match[2] } as System, match[3] !== undefined));
}

/** The variable files of a build, in packer's order: later ones win. */
export function variableFiles(tag: string, system: System): Variables[] {
  const name = `${system.distro}-${system.major}.json`;
  if (!isGenuine(tag)) return ownVariables(tag, system);
  const root = join(GENUINE, tag);
  const common = existsSync(join(root, "ova/packer-common.json"))
    ? "ova/packer-common.json"
    : "ova/packer-common.json.tmpl";
  const config = readdirSync(join(root, "config")).sort();
  const paths = [...config.map((it) => `config/${it}`), common, `ova/${name}`, "ova/vsphere.json"];
  return paths.map((it) => JSON.parse(readFileSync(join(root, it), "utf8")) as Variables);
}

/** The parts of a packer template in JSON that the rehearsal reads. */
export interface Template {
  builders: Record<string, unknown>[];
  provisioners: Record<string, unknown>[];
  "post-processors"?: Record<string, unknown>[];
  variables: Variables;
}

/** The template of the OVA builds. */
export function nodeTemplate(tag: string): Template {
  if (!isGenuine(tag)) return ownTemplate(tag);
  return JSON.parse(readFileSync(join(GENUINE, tag, "ova/packer-node.json"), "utf8")) as Template;
}

const isTemplated = (tag: string) => compareVersions(tag, "v0.1.38") > 0;
const isOnCd = (tag: string, { distro }: System) => distro === "rockylinux" && compareVersions(tag, "v0.1.44") > 0;

/**
 * The traits of the original ones: their account, `cdrom` and `repo` lines of public mirrors, one of them below
 * `devel/`.
 */
function ownKickstart(tag: string, { distro, major }: System, template: boolean): string {
  const mirror = `http://mirror.example.com/pub/rocky/${major}`;
  const folder = compareVersions(tag, "v0.1.47") > 0 ? "BaseOS/x86_64/kickstart" : "devel/x86_64/kickstart";
  const repositories = [
    `repo --name="AppStream" --baseurl="${mirror}/AppStream/x86_64/os/"`,
    ...(isOnCd(tag, { distro, major }) ? [`repo --name="kickstart" --baseurl="${mirror}/${folder}/"`] : []),
  ];
  return [
    ...(distro === "rhel" ? [] : repositories),
    "cdrom",
    "text",
    "firstboot --disabled",
    "eula --agreed",
    "keyboard --vckeymap=us --xlayouts='us'",
    "lang en_US.UTF-8",
    "network --bootproto=dhcp --onboot=on --ipv6=auto --activate --hostname=node.vm",
    "rootpw --lock",
    `user --name=builder --groups=wheel --password=${template ? "$SSH_PASSWORD" : "builder"} --plaintext --shell=/bin/bash`,
    "selinux --permissive",
    "firewall --disabled",
    'services --enabled="NetworkManager,sshd"',
    "timezone UTC",
    "bootloader --location=mbr --boot-drive=sda",
    "zerombr",
    "clearpart --all --initlabel --drives=sda",
    "autopart --nohome --noswap --nolvm",
    "skipx",
    "%packages --ignoremissing --excludedocs",
    "openssh-server",
    "open-vm-tools",
    "sudo",
    "python3",
    "%end",
    "reboot",
    "%post",
    "echo 'builder ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/builder",
    "chmod 440 /etc/sudoers.d/builder",
    "%end",
    "",
  ].join("\n");
}

function ownVariables(tag: string, system: System): Variables[] {
  const { distro, major } = system;
  const boot = isOnCd(tag, system)
    ? {
        boot_command_suffix: "hd:LABEL=cidata:/ks.cfg<leftCtrlOn>x<leftCtrlOff>",
        cd_content_location: "./packer/ova/linux/{{user `distro_name`}}/http/{{user `distro_version`}}/*",
        cd_label: "cidata",
      }
    : {
        boot_command_suffix: `/${major}/ks.cfg<leftCtrlOn>x<leftCtrlOff>`,
        boot_media_path: "http://{{ .HTTPIP }}:{{ .HTTPPort }}",
      };
  return [
    { kubernetes_semver: "v1.28.9", containerd_version: "1.7.13", crictl_version: "1.28.0" },
    {
      boot_wait: "10s",
      insecure_connection: "false",
      ssh_username: "builder",
      ssh_password: isTemplated(tag) ? "$SSH_PASSWORD" : "builder",
    },
    {
      ...boot,
      boot_command_prefix: "<up>e<down><down><end> text inst.ks=",
      build_name: `${distro}-${major}`,
      distro_name: distro,
      distro_version: major,
      shutdown_command: "/sbin/halt -h -p",
    },
    { cluster: "", datacenter: "", datastore: "", network: "", username: "", password: "", vcenter_server: "" },
  ];
}

/** The original template's ansible and goss provisioners read these variables; here they are a list. */
const READ_BY_PROVISIONERS = [
  "disable_public_repos reenable_public_repos remove_extra_repos extra_repos redhat_epel_rpm epel_rpm_gpg_key",
  "ansible_user_vars containerd_url containerd_sha256 containerd_service_url containerd_version crictl_url crictl_sha256",
  "crictl_source_type crictl_version goss_url goss_version kubernetes_source_type kubernetes_cni_source_type",
  "kubernetes_rpm_repo kubernetes_rpm_gpg_check kubernetes_rpm_gpg_key kubernetes_rpm_version kubernetes_cni_rpm_version",
  "kubernetes_http_source kubernetes_cni_http_source kubernetes_cni_http_checksum kubernetes_cni_semver kubernetes_semver",
  "kubernetes_series kubernetes_load_additional_imgs kubernetes_container_registry pause_image",
  "node_custom_roles_pre node_custom_roles_post firstboot_custom_roles_pre runc_version",
].flatMap((it) => it.split(" "));

function ownTemplate(tag: string): Template {
  const user = (name: string) => `{{user \`${name}\`}}`;
  const withCd = compareVersions(tag, "v0.1.38") > 0;
  const variables: Variables = {
    cluster: "",
    http_directory: "./packer/ova/linux/{{user `distro_name`}}/http/",
    build_version: "{{user `build_name`}}-kube-{{user `kubernetes_semver`}}",
    boot_media_path: "",
    ...(withCd ? { cd_content_location: "", cd_label: "" } : {}),
  };
  const vsphere = {
    type: "vsphere-iso",
    name: "vsphere",
    CPUs: "1",
    RAM: "1024",
    boot_command: [user("boot_command_prefix"), user("boot_media_path"), user("boot_command_suffix")],
    boot_wait: user("boot_wait"),
    ...(withCd ? { cd_files: user("cd_content_location"), cd_label: user("cd_label") } : {}),
    communicator: "ssh",
    cluster: user("cluster"),
    datacenter: user("datacenter"),
    datastore: user("datastore"),
    guest_os_type: "otherGuest64",
    http_directory: user("http_directory"),
    insecure_connection: user("insecure_connection"),
    iso_checksum: `${user("iso_checksum_type")}:${user("iso_checksum")}`,
    iso_urls: user("iso_url"),
    network_adapters: [{ network: user("network"), network_card: "vmxnet3" }],
    password: user("password"),
    shutdown_command: `echo '${user("ssh_password")}' | sudo -S -E sh -c '${user("shutdown_command")}'`,
    ssh_password: user("ssh_password"),
    ssh_timeout: "4h",
    ssh_username: user("ssh_username"),
    storage: [{ disk_size: "20480", disk_thin_provisioned: true }],
    username: user("username"),
    vcenter_server: user("vcenter_server"),
    vm_name: user("build_version"),
  };
  return {
    builders: [vsphere],
    provisioners: [{ type: "ansible", extra_arguments: READ_BY_PROVISIONERS.map(user) }],
    variables,
  };
}
