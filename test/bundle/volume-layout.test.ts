import t from "tap";
import { parseVolumeSize, piecesOf, volumeIndexOf, volumeName, volumeSizes } from "../../src/bundle/volume-layout.ts";

const MIB = 1024 * 1024;

t.test("parseVolumeSize() knows media and sizes", async (t) => {
  const sizes = new Map([
    ["fat32", 4095 * MIB],
    ["700MiB", 700 * MIB],
    ["700m", 700 * MIB],
    ["4GB", 4e9],
    ["1.5 GiB", 1536 * MIB],
    ["1000000", 999_936],
    ["700MB", 699_999_744],
    ["4096", 4096],
  ]);
  for (const [text, volumeSize] of sizes) t.same(parseVolumeSize(text), { volumeSize, volumesPerMedium: 1 }, text);
  const media = new Map([
    ["dvd", 4_700_372_992],
    ["dvd-dl", 8_543_666_176],
    ["bd25", 25_025_314_816],
    ["bd50", 50_050_629_632],
    ["bd100", 100_103_356_416],
  ]);
  for (const [name, capacity] of media) {
    const { volumeSize, volumesPerMedium } = parseVolumeSize(name);
    t.ok(volumeSize <= 4095 * MIB, `${name}: a volume fits any file system`);
    const rest = capacity - volumeSize * volumesPerMedium;
    t.ok(rest >= 320 * MIB && rest < 320 * MIB + volumesPerMedium * MIB, `${name}: ${rest} bytes stay free`);
  }
  for (const bad of ["", "x", "-1", "4095", "1e9", "10XB", "NaN", "99999999TB", "dvd-r"]) {
    t.throws(() => parseVolumeSize(bad), { code: "ERR_USAGE" }, bad);
  }
});

t.test("volume names", async (t) => {
  t.equal(volumeName(0), "data.tar.0000");
  t.equal(volumeIndexOf("data.tar.0012"), 12);
  for (const bad of ["data.tar.12", "data.tar.00012", "data.tar.0012 ", "Data.tar.0012", "data.tar"]) {
    t.equal(volumeIndexOf(bad), undefined, bad);
  }
});

t.test("piecesOf() covers a range exactly, whatever the cut", async (t) => {
  for (const volumeSize of [1, 7, 511, 512, 513, 4096]) {
    for (const [position, length] of [
      [0, 0],
      [0, 1],
      [511, 2],
      [500, 5000],
      [4095, 1],
      [4096, 4097],
    ] as const) {
      const pieces = piecesOf(position, length, volumeSize);
      let at = position;
      for (const it of pieces) {
        if (it.volume * volumeSize + it.offset !== at || it.length < 1 || it.offset + it.length > volumeSize) {
          t.fail(`piece ${JSON.stringify(it)} of ${position}+${length} in ${volumeSize}`);
        }
        at += it.length;
      }
      t.equal(at, position + length);
    }
  }
  t.same(volumeSizes(1000, 300), [300, 300, 300, 100]);
  t.same(volumeSizes(600, 300), [300, 300]);
});
