/** Images, registries and charts. */

import { FEW_BYTES } from "../../../../src/io/parser-thread.ts";
import { parseAuthFile, storedLogin } from "../../../../src/oci/docker-login.ts";
import { artifactTypeOf, parseImageManifest, platformOf } from "../../../../src/oci/image-manifest.ts";
import { isPlatform, parsePlatform } from "../../../../src/oci/platform.ts";
import { checkReference, formatReference, parseReference } from "../../../../src/oci/reference.ts";
import { tagsNewestFirst } from "../../../../src/oci/tag-order.ts";
import { parseChart } from "../../../../src/sources/image/chart-archive.ts";
import { imagesInYaml } from "../../../../src/sources/image/chart-images.ts";
import { findChart } from "../../../../src/sources/image/chart-index.ts";
import { tagsIn, withoutForeignDigests } from "../../../../src/sources/image/registry-lists.ts";
import { chartIndex, chartPackage } from "../../../../test/fixtures/charts.ts";
import { DIGEST, HEX, must, type Targets, text } from "../target.ts";

const OCI = "application/vnd.oci.image.manifest.v1+json";
const INDEX = "application/vnd.oci.image.index.v1+json";
const LAYER = `{"mediaType":"a","digest":"${DIGEST}","size":1,"annotations":{"a":"b"}}`;
const CHART_YAML = "apiVersion: v2\nname: a\nversion: 1.0.0\nannotations:\n  images: |\n    - image: a/b:c\n";

export const images: Targets = {
  chart: {
    samples: [chartPackage("a", { "Chart.yaml": CHART_YAML })],
    run: (data) => parseChart(data, "a.tgz"),
  },
  chartImages: {
    samples: ["---\nkind: Pod\nspec:\n  containers:\n  - image: a/b:c\n    args: [--x=a.io/b:c]\n---\n{}\n"],
    maxBytes: FEW_BYTES,
    run: (data) => imagesInYaml(text(data)),
  },
  chartIndex: {
    samples: [chartIndex("a", [{ version: "1.0.0", url: "a.tgz", digest: HEX }])],
    maxBytes: FEW_BYTES,
    run: (data) => findChart(text(data), "a", "^1", "index.yaml"),
  },
  dockerConfig: {
    samples: [
      '{"auths":{"a.io":{"auth":"YTpi"},"b.io/c":{"identitytoken":"x"}},"credHelpers":{"c.io":"h"},"credsStore":"s"}',
    ],
    run: (data) => {
      const read = parseAuthFile(text(data), "config.json");
      for (const host of ["a.io", "b.io", "c.io", "docker.io"]) storedLogin(read, host, "c/d");
    },
  },
  imageManifest: {
    samples: [
      `{"schemaVersion":2,"mediaType":"${OCI}","config":${LAYER},"layers":[${LAYER}],"subject":${LAYER}}`,
      `{"schemaVersion":2,"mediaType":"${INDEX}","manifests":[{"mediaType":"${OCI}","digest":"${DIGEST}","size":1,"platform":{"os":"linux","architecture":"arm64","variant":"v8"}}]}`,
    ],
    run: (data) => {
      const manifest = parseImageManifest(data, "image");
      artifactTypeOf(manifest);
      platformOf(JSON.parse(text(data)));
    },
  },
  platform: {
    samples: ["linux/arm64/v8", "windows(10.0.17763)/amd64"],
    run: (data) => isPlatform(parsePlatform(text(data)), parsePlatform("linux/amd64")),
  },
  reference: {
    samples: ["busybox", "a.io:5000/b/c:d", `a.io/b@${DIGEST}`, "https://a/b"],
    run: (data) => {
      if (checkReference(text(data)) !== undefined) return void parseReference(text(data));
      const formatted = formatReference(parseReference(text(data)));
      must(formatReference(parseReference(formatted)) === formatted, "a canonical reference stays as it is");
    },
  },
  tags: {
    samples: ['{"tags":["v1.2.3","1.10","latest","v1.2.3-rc.1"]}', `{"manifests":[{"digest":"md5:a"},${LAYER}]}`],
    run: (data) => {
      tagsNewestFirst(tagsIn(data).filter((it) => it !== undefined));
      withoutForeignDigests(data);
    },
  },
};
