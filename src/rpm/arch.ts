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

/**
 * How well packages of `arch` suit a system of `base`: 0 is best; undefined means they do not run there. noarch suits
 * every base.
 */
export function archRank(base: string, arch: string): number | undefined {
  if (arch === "noarch") return 0;
  const rank = (COMPATIBLE[base] ?? [base]).indexOf(arch);
  return rank < 0 ? undefined : rank;
}

/**
 * Whether packages of one name and these architectures exclude each other: 64-bit and 32-bit ones do not (rpm's
 * colors).
 */
export function sharesColor(a: string, b: string): boolean {
  return a === "noarch" || b === "noarch" || is64Bit(a) === is64Bit(b);
}

function is64Bit(arch: string): boolean {
  return arch === "s390x" || arch.includes("64");
}

/** Whether `arch` is a 32-bit companion (multilib) on `base`. */
export function isCompanionArch(base: string, arch: string): boolean {
  return base.startsWith("x86_64") && /^(i[3-6]86|athlon)$/.test(arch);
}

/** `src` and `nosrc`. */
export function isSourceArch(arch: string): boolean {
  return arch === "src" || arch === "nosrc";
}
