/** src/store/layout.ts: names inside a store, and that no stream's name leaves it. */
import t from "tap";
import { blobPathIn, incomingFolder, releaseName, streamFolder } from "../../src/store/layout.ts";

t.test("names are those of docs/design.md", async (t) => {
  const hex = `ab${"0".repeat(62)}`;
  t.equal(blobPathIn("/s", `sha256:${hex}`), `/s/blobs/sha256/ab/${hex}`);
  t.equal(incomingFolder("/s", `sha256:${hex}`), `/s/incoming/${hex}`);
  t.equal(streamFolder("/s", "lab-a"), "/s/releases/lab-a");
  t.equal(releaseName(0, 1), "000001");
  t.equal(releaseName(1, 999_999), "999999");
  t.equal(releaseName(2, 7), "e2-000007", "an epoch in front once it was raised");
  t.equal(releaseName(0, 1_000_000), "1000000", "no digit is cut off");
});

t.test("streamFolder() refuses what is no name of a stream", async (t) => {
  for (const it of ["", ".", "..", "../x", "a/b", "/etc", "a\\b", "a\0b", "a\nb"])
    t.throws(() => streamFolder("/s", it), { code: "ERR_PATH_UNSAFE" }, JSON.stringify(it));
});
