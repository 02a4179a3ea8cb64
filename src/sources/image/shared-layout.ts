/**
 * Combines the images of one manifest, since they become one layout: each name leads to one image, and a blob that
 * several images share is one file, which any of their registries and archives may provide.
 */
import { AirferryError } from "../../errors.ts";
import { shellWord } from "../../io/shell.ts";
import { parseReference, repositoryOf } from "../../oci/reference.ts";
import type { LockedImageEntry } from "../lock-document.ts";
import type { PlanItem } from "../types.ts";
import type { LockedImage } from "./image-detail.ts";

/**
 * Checks that no two images share a name, and that all agree on the sizes of what they share.
 * @throws {AirferryError} ERR_MANIFEST_INVALID, ERR_UPSTREAM_INVALID; both name the images
 */
export function verifyTogether(entries: readonly LockedImageEntry[]): void {
  const named = new Map<string, { image: LockedImage; entry: string }>();
  const sizes = new Map<string, { size: number | undefined; reference: string }>();
  for (const { name: entry, artifacts, detail } of entries) {
    const sizeOf = new Map(artifacts.map((it) => [it.path, it.size]));
    for (const image of detail.images) {
      const name = servedName(image.reference);
      const other = named.get(name);
      if (other === undefined) named.set(name, { image, entry });
      else verifySame(name, other, { image, entry });
      for (const path of image.paths) {
        const size = sizeOf.get(path);
        const earlier = sizes.get(path);
        if (earlier === undefined) sizes.set(path, { size, reference: image.reference });
        else if (earlier.size !== size) {
          throw new AirferryError(
            "ERR_UPSTREAM_INVALID",
            `cannot use image "${image.reference}": its manifest and that of "${earlier.reference}" disagree about the size of "${path}": expected ${earlier.size} bytes, got ${size}`,
            { path, hint: "one of the two is broken: have it pushed again, or remove it" },
          );
        }
      }
    }
  }
}

function verifySame(
  name: string,
  a: { image: LockedImage; entry: string },
  b: { image: LockedImage; entry: string },
): void {
  const platforms = ({ image }: typeof a) => image.platforms.join(", ") || "all platforms";
  const [what, one, other] =
    a.image.digest !== b.image.digest
      ? ["two images have this name", a.image.digest, b.image.digest]
      : ["it is wanted with different platforms", platforms(a), platforms(b)];
  if (one === other) return;
  throw new AirferryError(
    "ERR_MANIFEST_INVALID",
    `cannot use image "${name}": ${what}: ${one} by "${a.entry}", and ${other} by "${b.entry}"`,
    { path: name, hint: "give one of them another name with as:, or remove it" },
  );
}

/** What clients request: a digest next to a tag does not distinguish two images. */
function servedName(text: string): string {
  const reference = parseReference(text);
  const { tag, digest } = reference;
  return `${repositoryOf(reference)}${tag === undefined ? `@${digest}` : `:${tag}`}`;
}

/** Collects the items of all images, one for each path, with every location that provides it. */
export class SharedItems {
  readonly #items = new Map<string, PlanItem>();

  /** Adds what one entry selects. */
  add(entry: LockedImageEntry, items: readonly PlanItem[]): void {
    const owner = new Map<string, string>();
    for (const { reference, paths } of entry.detail.images) {
      for (const path of paths) if (!owner.has(path)) owner.set(path, reference);
    }
    for (const item of items) {
      const earlier = this.#items.get(item.path);
      if (earlier === undefined) {
        const isArchive = entry.detail.registry === undefined;
        const name = `image "${owner.get(item.path)}"`;
        this.#items.set(item.path, {
          ...item,
          about: {
            name,
            hint: isArchive
              ? `restore the archive, or save the image again, then: airferry lock MANIFEST --update ${shellWord(entry.name)}`
              : `the registry no longer has what was locked; to lock what it has now: airferry lock MANIFEST --update ${shellWord(entry.name)}`,
          },
        });
      } else {
        const places = [earlier.source, ...(earlier.others ?? [])].map(placeOf);
        if (!places.includes(placeOf(item.source))) earlier.others = [...(earlier.others ?? []), item.source];
      }
    }
  }

  list(): PlanItem[] {
    return [...this.#items.values()];
  }
}

function placeOf(source: PlanItem["source"]): string {
  switch (source.from) {
    case "url":
      return source.urls.join(" ");
    case "file":
      return `${source.file} ${source.offset ?? 0}`;
    case "kept":
      return source.digest;
    case "generated":
      return "";
  }
}
