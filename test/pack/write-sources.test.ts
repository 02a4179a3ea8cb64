import t from "tap";
import { parseYaml } from "../../src/io/yaml.ts";
import { carriedManifest } from "../../src/pack/write-sources.ts";

/** The manifest that a bundle carries for a text. */
const carried = (text: string) => carriedManifest(text, parseYaml(text).toJS());

t.test("a manifest without secrets is carried as it is", async (t) => {
  const text = "# ours\napiVersion: airferry/v1\nfiles:\n  - url: https://example.com/a.tar.gz # the tool\n";
  t.equal(await carried(text), text);
});

t.test("no credential is in the manifest that a bundle carries, however it is written", async (t) => {
  const secrets = [
    "files:\n  - url: https://example.com/a?token=CANARY\n",
    "files:\n  - url: https://u:CANARY@example.com/a\n",
    'files:\n  - url: "https:\\/\\/example.com\\/a?token=CANARY"\n',
    'files:\n  - url: "https://example.com/a\\x3ftoken=CANARY"\n',
    'files:\n  - url: "https://example.com/a?token=\\\n      CANARY"\n',
    "files:\n  - url: >-\n      https://example.com/a?token=CANARY\n",
    "x: &a https://example.com/a?token=CANARY\nfiles:\n  - url: *a\n",
    "files:\n  # https://u:CANARY@example.com/old\n  - url: https://example.com/a\n",
    "# Authorization: Bearer CANARYCANARY\nfiles: []\n",
    '{"files": [{"url": "https:\\u002f/example.com/a?token=CANARY"}]}',
    "? https://example.com/a?token=CANARY\n: 1\n",
  ];
  for (const text of secrets) {
    const result = await carried(text);
    t.notMatch(result, "CANARY", text);
    t.doesNotThrow(() => parseYaml(result).toJS());
  }
});
