/** Reads from a kickstart file what the rehearsal needs. It does not use airferry's parser, which it tests. */

/** The account that the installation creates. */
export interface Account {
  name: string;
  password: string;
  /** `--iscrypted`. */
  isHash: boolean;
  /** Lines that %post writes to /etc/sudoers.d. */
  sudoers: { file: string; line: string }[];
}

/** Returns the account of the `user` line; throws when none can log in. */
export function accountOf(kickstart: string): Account {
  const line = /^user\s+(.*)$/m.exec(kickstart)?.[1];
  if (line === undefined) throw new Error("the kickstart file makes no user");
  const option = (name: string) =>
    new RegExp(`--${name}(?:=|\\s+)("[^"]*"|'[^']*'|\\S+)`).exec(line)?.[1]?.replace(/^(["'])(.*)\1$/, "$2");
  const [name, password] = [option("name"), option("password")];
  if (name === undefined || password === undefined) throw new Error(`no name or password: user ${line}`);
  const sudoers = [...kickstart.matchAll(/^echo (["'])(.+)\1\s*>>?\s*(?:\/mnt\/sysimage)?(\/etc\/sudoers\.d\/\S+)$/gm)];
  return {
    name,
    password,
    isHash: /--iscrypted\b/.test(line),
    sudoers: sudoers.map((it) => ({ file: it[3]!, line: it[2]! })),
  };
}

/** Lists what the installation fetches: for each install source its `.treeinfo`, for each repository its metadata. */
export function sourcesOf(kickstart: string): string[] {
  const commands = kickstart.replace(/^%[a-z]+[\s\S]*?^%end\b/gm, "");
  const sources: string[] = [];
  for (const [, kind, rest] of commands.matchAll(/^(url|repo)\s+(.*)$/gm)) {
    const url = /--(?:url|baseurl)(?:=|\s+)"?([^"\s]+)"?/.exec(rest!)?.[1];
    if (url !== undefined) sources.push(url.replace(/\/?$/, kind === "url" ? "/.treeinfo" : "/repodata/repomd.xml"));
  }
  return sources;
}
