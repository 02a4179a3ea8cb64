/**
 * Small XML documents of repositories (repomd.xml, comps, metalink, one advisory) as a tree with the byte range of
 * every element, so that parts can be copied verbatim. Strictly well-formed; no declarations, so no entities to expand.
 */
import { SaxesParser } from "saxes";
import { Pace } from "../io/pace.ts";
import { toUtf8 } from "./xml-encoding.ts";
import { invalidXml } from "./xml-error.ts";

/** Documents deeper than this are hostile. */
const MAX_DEPTH = 64;
/** Elements and attributes of one tree; Fedora's comps.xml has 60,000. */
const MAX_NODES = 1_000_000;
/** Largest document that {@link parseXml} accepts: a tenth of a second's work. */
const MAX_SMALL_BYTES = 4 * 1024 * 1024;
/** Largest document that {@link readXml} accepts. */
const MAX_TREE_BYTES = 64 * 1024 * 1024;
const STEP_CHARS = 256 * 1024;

/**
 * One element. `start` is the byte of `<`, `end` the byte after the last `>`; both within the bytes parsed, which for a
 * document in another encoding is its UTF-8 (xml-encoding.ts).
 */
export interface XmlElement {
  /** Local name, without prefix. */
  name: string;
  attributes: Record<string, string>;
  children: XmlElement[];
  /** All character data directly inside, in UTF-8, not trimmed. */
  text: string;
  start: number;
  end: number;
}

/** A character as it appears in text that was read byte by byte: its UTF-8, each byte a latin1 character. */
function characterBytes(code: number): string {
  const text = code <= 0x10ffff ? String.fromCodePoint(code) : "\ufffd";
  return code < 0x80 ? text : Buffer.from(text, "utf8").toString("latin1");
}

/** Lets a parser that reads byte by byte (latin1) resolve references to characters to bytes as well. */
function resolveToBytes(parser: object): void {
  const saxes = parser as { parseEntity(entity: string): string };
  const resolve = saxes.parseEntity.bind(parser);
  saxes.parseEntity = (entity) => {
    const text = resolve(entity);
    return entity.startsWith("#") && text !== `&${entity};` ? characterBytes(text.codePointAt(0) as number) : text;
  };
}

/** Converts text that was read byte by byte (latin1). */
export function fromLatin1(text: string): string {
  return /[^\x00-\x7f]/.test(text) ? Buffer.from(text, "latin1").toString("utf8") : text;
}

/**
 * Parses a small document at once.
 * @throws {AirferryError} ERR_UPSTREAM_INVALID naming `name`, line and column
 */
export function parseXml(bytes: Uint8Array, name: string): XmlElement {
  const tree = new TreeBuilder(bytes, name, MAX_SMALL_BYTES);
  while (tree.step());
  return tree.finish();
}

/** The same for documents of any honest size, with pauses. */
export async function readXml(bytes: Uint8Array, name: string): Promise<XmlElement> {
  const tree = new TreeBuilder(bytes, name, MAX_TREE_BYTES);
  const pace = new Pace((fault) => invalidXml(name, fault));
  while (tree.step()) if (pace.isDue) await pace.rest();
  return tree.finish();
}

class TreeBuilder {
  readonly #parser = new SaxesParser({ xmlns: false, position: true });
  readonly #name: string;
  readonly #source: string;
  readonly #root: XmlElement = { name: "", attributes: {}, children: [], text: "", start: 0, end: 0 };
  readonly #stack: XmlElement[] = [this.#root];
  #nodes = 0;
  #open = 0;
  #at = 0;

  constructor(bytes: Uint8Array, name: string, maxBytes: number) {
    this.#name = name;
    if (bytes.length > maxBytes) {
      throw invalidXml(name, `too large: expected at most ${maxBytes} bytes, got ${bytes.length}`);
    }
    // Read as latin1, so that positions are bytes; text is decoded afterwards.
    this.#source = toUtf8(bytes, name).toString("latin1");
    this.#listen();
  }

  #fail(fault: string): never {
    throw invalidXml(this.#name, `${fault} at line ${this.#parser.line}, column ${this.#parser.column}`);
  }

  #listen(): void {
    const parser = this.#parser;
    const stack = this.#stack;
    resolveToBytes(parser);
    parser.on("error", (error) => this.#fail(error.message.replace(/^(undefined:)?\d+:\d+: /, "")));
    // comps files name their DTD, which is not read; declarations inside the document are refused.
    parser.on("doctype", (doctype) => {
      if (doctype.includes("[")) this.#fail("a DOCTYPE with declarations");
    });
    parser.on("opentagstart", () => {
      this.#open = this.#source.lastIndexOf("<", parser.position - 1);
    });
    parser.on("attribute", () => this.#count());
    parser.on("opentag", (tag) => {
      this.#count();
      const attributes: Record<string, string> = {};
      for (const [key, value] of Object.entries(tag.attributes)) attributes[key] = fromLatin1(value as string);
      const element = { name: localName(tag.name), attributes, children: [], text: "", start: this.#open, end: 0 };
      (stack.at(-1) as XmlElement).children.push(element);
      if (stack.push(element) > MAX_DEPTH) this.#fail(`more than ${MAX_DEPTH} levels`);
    });
    const text = (value: string) => {
      (stack.at(-1) as XmlElement).text += value;
    };
    parser.on("text", text);
    parser.on("cdata", text);
    parser.on("closetag", () => {
      const element = stack.pop() as XmlElement;
      element.text = fromLatin1(element.text);
      element.end = parser.position;
    });
  }

  #count(): void {
    if (++this.#nodes > MAX_NODES) this.#fail(`more than ${MAX_NODES} elements and attributes`);
  }

  /** Reads on; false at the end. */
  step(): boolean {
    if (this.#at >= this.#source.length) return false;
    const end = this.#at + STEP_CHARS;
    this.#parser.write(this.#source.slice(this.#at, end));
    this.#at = end;
    return true;
  }

  finish(): XmlElement {
    this.#parser.close();
    return this.#root.children[0] ?? this.#fail("no element");
  }
}

/** `entry` of `rpm:entry`. */
export function localName(name: string): string {
  const colon = name.indexOf(":");
  return colon < 0 ? name : name.slice(colon + 1);
}

/** First child of that local name. */
export function child(element: XmlElement, name: string): XmlElement | undefined {
  return element.children.find((it) => it.name === name);
}

/** All children of that local name, in order. */
export function childrenOf(element: XmlElement | undefined, name: string): XmlElement[] {
  return element?.children.filter((it) => it.name === name) ?? [];
}

/** Trimmed text of the first child of that name; undefined when there is none. */
export function childText(element: XmlElement, name: string): string | undefined {
  return child(element, name)?.text.trim();
}

/**
 * Text of an attribute value or element that was read byte by byte: five named entities and character references, which
 * become bytes like everything else. {@link fromLatin1} converts it to text.
 */
export function unescapeXml(text: string): string {
  if (!text.includes("&")) return text;
  return text.replace(/&(lt|gt|amp|quot|apos|#\d{1,7}|#x[0-9a-fA-F]{1,6});/g, (_whole, entity: string) => {
    switch (entity) {
      case "lt":
        return "<";
      case "gt":
        return ">";
      case "amp":
        return "&";
      case "quot":
        return '"';
      case "apos":
        return "'";
      default: {
        const code = entity[1] === "x" ? Number.parseInt(entity.slice(2), 16) : Number(entity.slice(1));
        return characterBytes(code);
      }
    }
  });
}

/** Text with the characters escaped that an attribute value may not contain. */
export function escapeXml(text: string): string {
  return text.replace(/[<>&"']/g, (it) => `&#${it.charCodeAt(0)};`);
}
