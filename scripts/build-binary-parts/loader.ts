/**
 * What the executable runs first: requires chunks of the program from its assets (chunks.ts), with the compiled code
 * beside each where this architecture has it (code-cache.ts). V8 ignores compiled code that is not of its version.
 */
import { getRawAsset } from "node:sea";
import { pathToFileURL } from "node:url";
import { Script } from "node:vm";
import { CACHE_SUFFIX, wrapped } from "./wrapper.ts";

const loaded = new Map<string, { exports: unknown }>();
const url = pathToFileURL(__filename).href;

function load(name: string): unknown {
  const known = loaded.get(name);
  if (known !== undefined) return known.exports;
  const module = { exports: {} };
  loaded.set(name, module);
  const cachedData = Buffer.from(getRawAsset(`${name}${CACHE_SUFFIX}`));
  const script = new Script(wrapped(Buffer.from(getRawAsset(name)).toString("latin1")), {
    filename: name,
    ...(cachedData.length > 0 && { cachedData }),
  });
  script.runInThisContext()(module.exports, requireChunk, module, __filename, __dirname, url);
  return module.exports;
}

function requireChunk(wanted: string): unknown {
  return wanted.startsWith("./") ? load(wanted.slice(2)) : require(wanted);
}

/** These names of one of Node's modules, which is loaded when the first of them is used (chunks.ts). */
requireChunk.late = (wanted: string, names: readonly string[]): object => {
  const late = {};
  const loadNow = () => {
    const all = require(wanted);
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
