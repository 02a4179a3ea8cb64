/** Phrases that no technical writer would use stay out of code, scripts and docs; comments fit in 120 columns. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";

const ROOT = join(import.meta.dirname, "..");

/** What to write instead, by the phrase. */
const FORBIDDEN = new Map<RegExp, string>([
  [/\b(?:can|cannot|to) be had\b/i, "available, unavailable"],
  [/\bmistake (?:in|of) airferry\b/i, "bug"],
  [/\bby (?:another way|voice)\b/i, "out of band"],
  [/\bpass(?:ed|es|ing)? (?:it |them )?over\b(?! (?:the|all|every|whole))/i, "skip, ignore"],
  [/\blet be\b/i, "ignore"],
  [/\bat hand\b/i, "available"],
  [/\bno more in the\b/i, "no longer in"],
  [/\b(?:goes on from (?:here|there)|continues where it stopped)\b/i, "run the same command to resume"],
  [/\b(?:is|are|was|were) told\b(?! to\b)|(?:\*|\/\/|, and) told\b(?! to\b)/i, "reported; called with"],
  [/\btells (?:whether|of|apart|which|why)\b|^[ */]*Tells (?!threads)/i, "returns whether, reports"],
  [/\bis (?:not )?(?:a key|none) of (?:this|its) place\b/i, "unknown key"],
  [/\b(?:what|that|which) (?:is|are|was|were) not there\b/i, "missing"],
  [/\bcannot go on\b/i, "cannot continue"],
  [/\b(?:stands?|stood) in (?:a|the|its|for|front)\b/i, "is in, replaces"],
  [/\b(?:lies|lie) (?:in|on|below|beside|behind|open)\b/i, "is in, is below"],
  [/\band the like\b/i, "such as, and similar"],
  [/\bwholly\b/i, "completely"],
  [/\b(?:take|takes|taken|took) out of the (?:tree|lock|repository)\b/i, "remove"],
  [/\bsays? it of\b/i, "reports for"],
  [/\bnobody (?:here|published|asked|knows|tells)\b/i, "use the passive, or name who"],
  [/\bas (?:it|they) stands?\b/i, "as written"],
  [/\bfor want of\b|\bheeded\b|\bhence\b|\bthereby\b|\bthereof\b|\btherein\b/i, "plain words"],
  [/\banew\b/i, "again"],
  [/\bone a line\b/i, "one per line"],
  [/\bby turns\b/i, "in turn"],
  [/\b(?:goes|go) by (?:the|its|their)\b/i, "follows, uses"],
  [/\bheld against\b|\bholds? (?:[\w`*-]+ ){1,6}against\b/i, "compare with"],
  [/\b(?:comes?|came) along\b/i, "is carried too"],
  [/(?<!\byou )\bwants? (?:a|an|the|another|newer|to be)\b/i, "needs"],
  [/\ball the same\b/i, "nevertheless"],
  [/\b(?:and|which|that) (?:it |that )?is said\b|, and said\b/i, "which is reported"],
  [/\bstands? (?:last|behind|beside|alone|between|open)\b/i, "is, comes"],
  [/\bis the judge\b|\bgives? way\b|\bthe genuine one/i, "plain words"],
  [/\bcannot be asked\b/i, "unreachable"],
  [/\bdoes nothing twice\b/i, "idempotent"],
  [/\b(?:read|comes?|packs?|served?|made|taken?) out of (?:the|a|an|its)\b/i, "from"],
  [/\bspeaks? of\b/i, "describes, names"],
]);

/** Every tracked text of the project that people read or write, with its lines. */
function texts(...paths: string[]): { file: string; lines: string[] }[] {
  const listed = execFileSync("git", ["ls-files", "-z", "--", ...paths], { cwd: ROOT, encoding: "utf8" });
  return listed
    .split("\0")
    .filter((file) => /\.(?:ts|md|sh)$|^scripts\/[a-z-]+$/.test(file) && !file.startsWith("scripts/sample/"))
    .map((file) => ({ file, lines: readFileSync(join(ROOT, file), "utf8").split("\n") }));
}

t.test("src, scripts, docs and README have none of the forbidden phrases", async (t) => {
  const found: string[] = [];
  for (const { file, lines } of texts("src", "scripts", "docs", "README.md", "CONTRIBUTING.md", "SECURITY.md"))
    for (const [index, line] of lines.entries())
      for (const [phrase, instead] of FORBIDDEN) {
        const [match] = phrase.exec(line) ?? [];
        if (match !== undefined) found.push(`${file}:${index + 1}: "${match.trim()}": write ${instead}`);
      }
  t.strictSame(found, []);
});

t.test("the forbidden phrases are found where they are", async (t) => {
  for (const line of [
    "3 packages cannot be had",
    "// what nobody has is told, and is no error",
    "is not a key of this place: there are a, b",
    " * Tells whether it is.",
    "the volume is not at hand",
    "by another way than the bundle",
    "`pack` holds the fetched bytes against it",
    "a name is ambiguous, and that is said",
    "iPXE wants a binary",
    "read out of the store",
  ])
    t.ok(
      [...FORBIDDEN.keys()].some((it) => it.test(line)),
      line,
    );
});

t.test("comments of the code fit in 120 columns", async (t) => {
  const found: string[] = [];
  for (const { file, lines } of texts("src"))
    for (const [index, line] of lines.entries())
      if (/^\s*(?:\/\*|\*|\/\/)/.test(line) && line.length > 120) found.push(`${file}:${index + 1}`);
  t.strictSame(found, []);
});
