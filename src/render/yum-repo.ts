/**
 * `airferry.repo`: every served repository for dnf and yum, with signatures checked. See dnf.conf(5).
 */
import { repositoriesOf } from "./rpm-repositories.ts";
import { CLIENT_CA_PATH, type RenderInput } from "./types.ts";
import { addressOf } from "./view.ts";

/**
 * Renders the file for /etc/yum.repos.d/. `gpgcheck=1` unless upstream signs nothing and the manifest says so, which is
 * noted here. `caPath` is the path of the server's CA on the client; it is only used with TLS.
 */
export function renderYumRepo(input: RenderInput, caPath: string = CLIENT_CA_PATH): string {
  const { tls } = addressOf(input.baseUrl);
  const blocks = [
    [`# Rendered by airferry for ${input.baseUrl}; goes to /etc/yum.repos.d/airferry.repo`].concat(
      tls && input.privateCa
        ? [
            `# The CA of the server must be in ${caPath}; compare its fingerprint with what airferry serve printed:`,
            `# curl -fsSk -o ${caPath} ${input.baseUrl}/ca.crt && openssl x509 -noout -fingerprint -sha256 -in ${caPath}`,
          ]
        : [],
    ),
  ];
  for (const repository of repositoriesOf(input)) {
    const lines = [`[${repository.id}]`, `name=${oneLine(repository.title)}`, `baseurl=${repository.url}`, "enabled=1"];
    if (!repository.gpgcheck) lines.push("# upstream does not sign its packages (gpgcheck: false in the manifest)");
    else if (repository.keys.length === 0) lines.push("# no key was packed for it: dnf will refuse its packages");
    if (repository.legacySignatures)
      lines.push(
        "# signed with SHA-1 or short keys: EL 9 and later refuse that unless their crypto policy allows SHA-1",
      );
    lines.push(`gpgcheck=${repository.gpgcheck ? 1 : 0}`, `repo_gpgcheck=${repository.repoGpgcheck ? 1 : 0}`);
    if (repository.keys.length > 0) lines.push(`gpgkey=${repository.keys.join("\n       ")}`);
    if (tls && input.privateCa) lines.push(`sslcacert=${caPath}`);
    if (tls) lines.push("sslverify=1");
    if (repository.moduleHotfixes) lines.push("module_hotfixes=1");
    // A new release may come any day, and asking a server on the same network costs nothing.
    lines.push("metadata_expire=60");
    blocks.push(lines);
  }
  return `${blocks.map((lines) => lines.join("\n")).join("\n\n")}\n`;
}

function oneLine(text: string): string {
  return text.replace(/[\r\n]+/g, " ");
}
