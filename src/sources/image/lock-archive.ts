/** Images of an archive or layout on disk: which are selected, and under which names. */
import { AirferryError } from "../../errors.ts";
import { plural } from "../../io/format.ts";
import type { ImageEntry } from "../../manifest/schema.ts";
import { checkReference, formatReference, parseReference } from "../../oci/reference.ts";
import { localPath } from "../local-path.ts";
import type { LockContext } from "../types.ts";
import { type Collected, collectImage } from "./collect.ts";
import { type ArchivedImage, openImageArchive } from "./image-archive.ts";
import type { ImageDetail } from "./image-detail.ts";

/** @throws {AirferryError} ERR_MANIFEST_INVALID, ERR_UPSTREAM_INVALID */
export async function lockArchive(
  entry: ImageEntry,
  context: LockContext,
): Promise<{ collected: Collected[]; detail: ImageDetail }> {
  const shown = entry.archive as string;
  await using archive = await openImageArchive(localPath(shown, context), shown);
  const collected: Collected[] = [];
  for (const { image, reference } of namedImages(archive.images, entry)) {
    const one = await collectImage(image.origin, image.root, {
      reference,
      platforms: entry.platforms,
      referrers: entry.referrers !== false,
      foreignLayers: entry.foreign_layers === true,
      established: "first-sight",
      allowMissing: true,
      hint: "copy the file again, or save the image again",
      kept: context.kept,
      report: context.report,
    });
    context.report(`image ${reference} is ${one.image.digest}`);
    collected.push(one);
  }
  return { collected, detail: { images: collected.map((it) => it.image) } };
}

const NAME_HINT = "name it: as: registry.example.com/name:tag";

/** Which images of an archive are selected, and under which names. */
function namedImages(
  images: readonly ArchivedImage[],
  entry: ImageEntry,
): { image: ArchivedImage; reference: string }[] {
  const fault = (what: string, hint: string) =>
    new AirferryError("ERR_MANIFEST_INVALID", `cannot lock image "${entry.archive}": ${what}`, {
      path: entry.archive,
      hint,
    });
  const all = images.flatMap((image) =>
    image.names.map((name) => {
      const wrong = checkReference(name);
      return { image, name, wrong, reference: wrong ? name : formatReference(parseReference(name)) };
    }),
  );
  if (entry.as !== undefined) {
    const wanted = formatReference(parseReference(entry.as));
    const same = all.find((it) => it.reference === wanted);
    const only = images.length === 1 ? images[0] : undefined;
    const image = same?.image ?? only;
    if (image === undefined) {
      throw fault(
        `it holds ${plural(images.length, "image")} and none is "${entry.as}": ${all.map((it) => it.reference).join(", ")}`,
        "remove as: to select all of them, or name one of these",
      );
    }
    return [{ image, reference: wanted }];
  }
  const nameless = images.find((it) => it.names.length === 0);
  if (nameless !== undefined) {
    throw fault(`the image ${nameless.root.digest} in it has no name`, NAME_HINT);
  }
  const misnamed = all.find((it) => it.wrong);
  if (misnamed?.wrong)
    throw fault(`the name "${misnamed.name}" in it is not a reference: ${misnamed.wrong.fault}`, NAME_HINT);
  return all;
}
