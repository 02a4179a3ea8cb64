/** Which architectures a system runs, best first. See libsolv's poolarch.c and rpm's rpmrc. */

const COMPATIBLE: Record<string, readonly string[]> = {
  x86_64: ["x86_64", "amd64", "ia32e", "athlon", "i686", "i586", "i486", "i386"],
  x86_64_v2: ["x86_64_v2", "x86_64", "athlon", "i686", "i586", "i486", "i386"],
  i686: ["i686", "i586", "i486", "i386"],
  i386: ["i686", "i586", "i486", "i386"],
  aarch64: ["aarch64"],
  armv7hl: ["armv7hl", "armv6hl", "armv5tel"],
  ppc64le: ["ppc64le"],
  s390x: ["s390x", "s390"],
};

/** How well packages of `arch` suit a system of `base`: 0 is best; undefined: they do not run there. noarch suits all. */
export function archRank(base: string, arch: string): number | undefined {
  if (arch === "noarch") return 0;
  const rank = (COMPATIBLE[base] ?? [base]).indexOf(arch);
  return rank < 0 ? undefined : rank;
}

/** Whether `arch` is a 32-bit companion (multilib) on `base`. */
export function isCompanionArch(base: string, arch: string): boolean {
  return base.startsWith("x86_64") && /^(i[3-6]86|athlon)$/.test(arch);
}

/** `src` and `nosrc`. */
export function isSourceArch(arch: string): boolean {
  return arch === "src" || arch === "nosrc";
}
