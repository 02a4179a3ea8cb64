/** src/io/git-recording.ts: what of `git.jsonl` counts, and what does not. */
import { truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { digestOf } from "../../src/io/digest.ts";
import { MAX_GIT_INDEX_BYTES } from "../../src/io/git-index.ts";
import { gitFile, gitLine, type RecordedRepository, readGitRecording } from "../../src/io/git-recording.ts";

const OID = "a".repeat(40);
const ONE: RecordedRepository = {
  url: "https://h.example/a.git",
  format: "sha1",
  head: "refs/heads/main",
  refs: [{ name: "refs/heads/main", oid: OID }],
  pack: { digest: digestOf("pack"), size: 4 },
  time: "2026-11-30T12:00:00Z",
};
const EMPTY: RecordedRepository = { url: "https://h.example/0", format: "sha256", refs: [], time: ONE.time };

t.test("the last line of a repository counts, and a torn one does not", async (t) => {
  const dir = t.testdir();
  t.strictSame(await readGitRecording(dir), { repositories: [], digest: undefined, unused: 0 });
  const newer = { ...ONE, time: "2026-12-01T12:00:00Z" };
  writeFileSync(gitFile(dir), `${[ONE, EMPTY, newer].map(gitLine).join("")}${gitLine(ONE).slice(0, -9)}`);
  const { repositories, unused } = await readGitRecording(dir);
  t.strictSame([repositories, unused], [[EMPTY, newer], 0]);
});

t.test("lines that nobody could be answered from are counted", async (t) => {
  const dir = t.testdir();
  const { pack: _, ...withoutPack } = ONE;
  const wrong: object[] = [
    withoutPack,
    { ...EMPTY, pack: ONE.pack },
    { ...ONE, pack: { digest: "sha256:x", size: 4 } },
    { ...ONE, pack: { ...ONE.pack, size: -1 } },
    { ...ONE, path: "web/x" },
    { ...ONE, url: "https://u:p@h.example/a.git" },
    { ...ONE, url: "https://h.example/a.git?token=x" },
    { ...ONE, refs: [{ name: "refs/heads/../x", oid: OID }] },
    { ...ONE, refs: [{ name: "refs/heads/x", oid: "x" }] },
    { ...ONE, time: 1 },
  ];
  writeFileSync(gitFile(dir), `${wrong.map((it) => JSON.stringify(it)).join("\n")}\nnull\n[\n\n`);
  const { repositories, unused } = await readGitRecording(dir);
  t.strictSame([repositories, unused], [[], wrong.length + 3]);
});

t.test("a file that is too large, and one that is none, are refused", async (t) => {
  const dir = t.testdir({ folder: { "git.jsonl": {} } });
  writeFileSync(gitFile(dir), "");
  truncateSync(gitFile(dir), MAX_GIT_INDEX_BYTES + 1);
  await t.rejects(readGitRecording(dir), { code: "ERR_SIZE_LIMIT" });
  await t.rejects(readGitRecording(join(dir, "folder")), { code: "ERR_PATH_UNSAFE" });
});
