/**
 * What the executable runs first: requires chunks of the program from its assets (chunks.ts), with the compiled code
 * beside each where this architecture has it (code-cache.ts). V8 ignores compiled code that is not of its version or
 * was made under other flags.
 */
import { getRawAsset } from "node:sea";
import { pathToFileURL } from "node:url";
import { Script } from "node:vm";
import { V8_FLAGS } from "../../src/io/v8-flags.ts";
import { CACHE_SUFFIX, wrapped } from "./wrapper.ts";

const loaded = new Map<string, { exports: unknown }>();
const url = pathToFileURL(__filename).href;

function load(name: string): unknown {
  const known = loaded.get(name);
  if (known !== undefined) return known.exports;
  const module = { exports: {} };
  loaded.set(name, module);
  const cachedData = Buffer.from(getRawAsset(`${name}${CACHE_SUFFIX}`));
  const text = wrapped(Buffer.from(getRawAsset(name)).toString("latin1"));
  const script = withFirstFlags(
    () => new Script(text, { filename: name, ...(cachedData.length > 0 && { cachedData }) }),
  );
  script.runInThisContext()(module.exports, requireChunk, module, __filename, __dirname, url);
  return module.exports;
}

/** The flags that the program has set (src/io/v8-flags.ts), and how. */
const flags = new Set<string>();
let setFlagsFromString = (_flags: string) => {};

/** Compiles under the flags that the process began with, which are those of code-cache.ts. */
function withFirstFlags(compile: () => Script): Script {
  for (const it of flags) setFlagsFromString(V8_FLAGS[it as keyof typeof V8_FLAGS]);
  try {
    return compile();
  } finally {
    for (const it of flags) setFlagsFromString(it);
  }
}

/** The module node:v8, which remembers the flags that are set through it. */
function rememberingFlags(v8: typeof import("node:v8")): object {
  setFlagsFromString = v8.setFlagsFromString;
  return {
    ...v8,
    setFlagsFromString: (flag: string) => {
      if (Object.hasOwn(V8_FLAGS, flag)) flags.add(flag);
      v8.setFlagsFromString(flag);
    },
  };
}

function requireChunk(wanted: string): unknown {
  return wanted.startsWith("./") ? load(wanted.slice(2)) : require(wanted);
}

/** These names of one of Node's modules, which is loaded when the first of them is used (chunks.ts). */
requireChunk.late = (wanted: string, names: readonly string[]): object => {
  const late = {};
  const loadNow = () => {
    const all = wanted === "node:v8" ? rememberingFlags(require(wanted)) : require(wanted);
    for (const name of names) Object.defineProperty(late, name, { value: name === "default" ? all : all[name] });
  };
  for (const name of names) {
    const get = () => {
      loadNow();
      return Reflect.get(late, name);
    };
    Object.defineProperty(late, name, { get, configurable: true });
  }
  return late;
};

load("bin.js");
