/**
 * Small random universes of packages, as primary.xml: few names, so that everything collides. Names, versions with epochs,
 * three architectures, plain and rich dependencies, conflicts, obsoletes, weak dependencies, files, several repositories.
 * The same seed always gives the same universe.
 */
import { documentOf, packageBlock } from "./packages.ts";

export interface Universe {
  seed: number;
  /** One primary.xml for each repository. */
  primaries: string[];
  /** Requested names, each in its newest or any version. */
  requests: string[];
  recommends: boolean;
}

const SIGNS = ["=", "<", "<=", ">", ">="];

/** A generator of numbers that a seed determines (mulberry32). */
class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** In [0, 1). */
  roll(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let it = this.#state;
    it = Math.imul(it ^ (it >>> 15), it | 1);
    it ^= it + Math.imul(it ^ (it >>> 7), it | 61);
    return ((it ^ (it >>> 14)) >>> 0) / 4294967296;
  }

  /** Whole, from `low` to `high`, both included. */
  between(low: number, high: number): number {
    return low + Math.floor(this.roll() * (high - low + 1));
  }

  chance(of: number): boolean {
    return this.roll() < of;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.between(0, list.length - 1)] as T;
  }
}

/** How many of each item a universe has. */
interface Shape {
  names: number;
  virtuals: number;
  rich: number;
  versioned: number;
  conflicts: number;
  obsoletes: number;
  weak: number;
  companions: number;
}

export function universeOf(seed: number): Universe {
  const dice = new Dice(seed);
  const shape: Shape = {
    names: dice.between(3, 14),
    virtuals: dice.between(0, 4),
    rich: dice.pick([0, 0.1, 0.4, 0.8]),
    versioned: dice.pick([0, 0.3, 0.6]),
    conflicts: dice.pick([0, 0.1, 0.3]),
    obsoletes: dice.pick([0, 0.1, 0.2]),
    weak: dice.pick([0, 0, 0.2]),
    companions: dice.pick([0, 0.3, 0.7]),
  };
  const repositories = dice.pick([1, 1, 1, 2, 3]);
  const blocks: string[][] = Array.from({ length: repositories }, () => []);
  for (let n = 0; n < shape.names; n++) {
    const name = nameOf(n);
    const noarch = dice.chance(0.25);
    const versions = new Set<string>();
    for (let i = dice.pick([1, 1, 1, 2, 2, 3]); i > 0; i--) versions.add(evrOf(dice, true));
    for (const evr of versions) {
      const arches = noarch ? ["noarch"] : dice.chance(0.9) ? ["x86_64"] : [];
      if (!noarch && (arches.length === 0 || dice.chance(shape.companions)))
        arches.push(dice.chance(0.9) ? "i686" : "i586");
      if (noarch && dice.chance(0.1)) arches[0] = "x86_64";
      for (const arch of arches) {
        const block = packageOf(dice, shape, name, evr, arch);
        const home = dice.between(0, repositories - 1);
        blocks[home]?.push(block);
        // The very same package in another repository, too.
        if (repositories > 1 && dice.chance(0.15)) blocks[(home + 1) % repositories]?.push(block);
      }
    }
  }
  const requests = new Set<string>();
  for (let i = dice.pick([1, 1, 2, 2, 3, 4]); i > 0; i--) requests.add(nameOf(dice.between(0, shape.names - 1)));
  return {
    seed,
    primaries: blocks.map(documentOf),
    requests: [...requests],
    recommends: shape.weak > 0 && dice.chance(0.5),
  };
}

function nameOf(n: number): string {
  return `${"abcdefghijklmnop"[n]}${n % 3 === 2 ? "-libs" : ""}`;
}

/** `epoch:version-release`; where it is part of a dependency, the epoch and the release may be left out. */
function evrOf(dice: Dice, whole: boolean): string {
  const epoch = dice.chance(0.1) ? "1:" : whole ? "0:" : "";
  const version = dice.pick(["1", "1", "2", "2", "3", "1.5", "2~rc1", "2^git"]);
  return `${epoch}${version}${whole || dice.chance(0.3) ? `-${dice.pick(["1", "1", "2"])}` : ""}`;
}

function packageOf(dice: Dice, shape: Shape, name: string, evr: string, arch: string): string {
  const list = (most: number, chance: number, make: () => string) => {
    const found: string[] = [];
    for (let i = 0; i < most; i++) if (dice.chance(chance)) found.push(make());
    return found;
  };
  const isa = arch === "noarch" ? [] : [`${name}(${arch === "x86_64" ? "x86-64" : "x86-32"}) = ${evr}`];
  const provides = [
    ...isa,
    ...list(2, shape.virtuals > 0 ? 0.4 : 0, () => {
      const capability = `v${dice.between(0, shape.virtuals - 1)}`;
      if (dice.chance(0.4)) return capability;
      return `${capability} ${dice.chance(0.8) ? "=" : dice.pick(SIGNS)} ${evrOf(dice, false)}`;
    }),
    ...list(1, 0.05, () => `${nameOf(dice.between(0, shape.names - 1))} = ${evrOf(dice, false)}`),
  ];
  const dependency = () => (dice.chance(shape.rich) ? richOf(dice, shape, 0) : simpleOf(dice, shape));
  const weak = () => list(1, shape.weak, () => dependency());
  const path = (most: number) => `/usr/bin/f${dice.between(0, most)}`;
  return packageBlock({
    name,
    evr,
    arch,
    sections: {
      provides,
      requires: list(3, 0.4, () => (dice.chance(0.05) ? path(3) : dependency())),
      conflicts: list(2, shape.conflicts, () => dependency()),
      obsoletes: list(1, shape.obsoletes, () => simpleOf(dice, shape)),
      recommends: weak(),
      suggests: weak(),
      supplements: weak(),
      enhances: weak(),
    },
    files: list(1, 0.15, () => path(2)),
  });
}

function simpleOf(dice: Dice, shape: Shape): string {
  const isVirtual = shape.virtuals > 0 && dice.chance(0.35);
  const isMissing = dice.chance(0.03);
  const name = isMissing
    ? "missing"
    : isVirtual
      ? `v${dice.between(0, shape.virtuals - 1)}`
      : nameOf(dice.between(0, shape.names - 1));
  const isa = !isVirtual && dice.chance(0.15) ? dice.pick(["(x86-64)", "(x86-32)"]) : "";
  return `${name}${isa}${dice.chance(shape.versioned) ? ` ${dice.pick(SIGNS)} ${evrOf(dice, false)}` : ""}`;
}

/** As rpm lets people write them: `with` and `without` hold single capabilities. */
function richOf(dice: Dice, shape: Shape, depth: number): string {
  const operand = () => (depth < 2 && dice.chance(0.3) ? richOf(dice, shape, depth + 1) : simpleOf(dice, shape));
  switch (dice.pick(["and", "or", "or", "if", "if", "ifelse", "with", "without", "unless", "unlesselse"] as const)) {
    case "and":
      return `(${[operand(), operand(), ...(dice.chance(0.2) ? [operand()] : [])].join(" and ")})`;
    case "or":
      return `(${[operand(), operand(), ...(dice.chance(0.3) ? [operand()] : [])].join(" or ")})`;
    case "if":
      return `(${operand()} if ${operand()})`;
    case "ifelse":
      return `(${operand()} if ${operand()} else ${operand()})`;
    case "unless":
      return `(${operand()} unless ${operand()})`;
    case "unlesselse":
      return `(${operand()} unless ${operand()} else ${operand()})`;
    case "with":
      return `(${simpleOf(dice, shape)} with ${simpleOf(dice, shape)})`;
    case "without":
      return `(${simpleOf(dice, shape)} without ${simpleOf(dice, shape)})`;
  }
}
