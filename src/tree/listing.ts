/**
 * What a generation of a written tree will have: each path with its content or the link that it is. Paths are legal by
 * the path grammar, and none is both a file and a folder.
 */
import { createHash } from "node:crypto";
import { type Digest, hexOf } from "../io/digest.ts";
import { checkPath } from "../io/path-grammar.ts";
import { printable } from "../io/printable.ts";

/** A file's content, or where a symbolic link leads: relative, from its folder. */
type Place = { digest: Digest } | { link: string };

/** Left-out paths that are named. */
const MAX_NOTES = 20;

export class Listing {
  readonly places = new Map<string, Place>();
  readonly folders = new Set<string>();
  /** How many paths were left out, and the first of them with the reason. */
  leftOut = 0;
  readonly notes: string[] = [];

  /**
   * Adds `name` below `folder`, which is a path of airferry's own that ends in a slash. Returns whether it is there;
   * what cannot be a file beside the others is left out and noted.
   */
  add(folder: string, name: string, place: Place): boolean {
    const path = `${folder}${name}`;
    const fault = checkPath(name) ?? this.#fault(path);
    if (fault !== undefined) {
      this.leaveOut(path, fault);
      return false;
    }
    this.places.set(path, place);
    this.addFolder(path.slice(0, Math.max(0, path.lastIndexOf("/"))));
    return true;
  }

  /** Adds a folder that may stay empty; its path was checked. Where a file is in its place it is left out. */
  addFolder(path: string): void {
    for (let end = path.length; end > 0; end = path.lastIndexOf("/", end - 1)) {
      if (!this.places.has(path.slice(0, end))) continue;
      this.leaveOut(path, `${printable(path.slice(0, end), 300)} is a file`);
      return;
    }
    for (let at = path; at !== "" && !this.folders.has(at); at = at.slice(0, Math.max(0, at.lastIndexOf("/"))))
      this.folders.add(at);
  }

  leaveOut(path: string, fault: string): void {
    this.leftOut++;
    if (this.notes.length < MAX_NOTES) this.notes.push(`${printable(path, 300)}: ${fault}`);
  }

  #fault(path: string): string | undefined {
    if (this.places.has(path)) return "another file has this name";
    if (this.folders.has(path)) return "a folder has this name";
    for (let end = path.lastIndexOf("/"); end > 0; end = path.lastIndexOf("/", end - 1))
      if (this.places.has(path.slice(0, end))) return `${printable(path.slice(0, end), 300)} is a file`;
    return undefined;
  }

  /** Identifies everything in it. */
  digest(): Digest {
    const hash = createHash("sha256");
    for (const path of [...this.places.keys()].sort()) {
      const place = this.places.get(path);
      const value = place === undefined ? "" : "link" in place ? `>${place.link}` : hexOf(place.digest);
      hash.update(`${path}\0${value}\n`);
    }
    for (const path of [...this.folders].sort()) hash.update(`${path}/\n`);
    return `sha256:${hash.digest("hex")}`;
  }
}
