/** src/init/questions.ts: what is asked for each ready manifest, with scripted answers. */
import t from "tap";
import { type Ask, interview } from "../../src/init/questions.ts";
import { readyManifests } from "../../src/manifest/ready.ts";

/** Answers by the first words of a question; the default where none is given. Faulty answers are collected. */
function scripted(answers: Record<string, string>): Ask & { asked: string[]; faults: string[] } {
  const asked: string[] = [];
  const faults: string[] = [];
  const answer = (question: string, fallback: string) => {
    asked.push(question);
    return Object.entries(answers).find(([start]) => question.startsWith(start))?.[1] ?? fallback;
  };
  return {
    asked,
    faults,
    choose: async (question, _choices, fallback) => answer(question, fallback),
    text: async (question, fallback, fault) => {
      const text = answer(question, fallback);
      const found = fault?.(text);
      if (found === undefined) return text;
      faults.push(found);
      return fallback;
    },
  };
}

t.test("offers every ready manifest with what it builds", async (t) => {
  const ready = await readyManifests();
  const shown: string[] = [];
  const ask: Ask = {
    ...scripted({}),
    choose: async (_question, choices) => {
      shown.push(...choices.map((it) => `${it.value}: ${it.text}`));
      return "starter";
    },
  };
  await interview(ask, ready, {}, ".");
  t.equal(shown.length, ready.size);
  t.ok(shown.includes("starter: A manifest to start from"));
  for (const line of shown) t.match(line, /^[\w-]+: [A-Z]/);
});

t.test("asks what the chosen manifest leaves open, and nothing else", async (t) => {
  const ready = await readyManifests();
  const starts = (ask: { asked: string[] }) => ask.asked.map((it) => it.split(/[ ,:]/)[0]);

  const starter = scripted({ What: "starter" });
  t.strictSame(await interview(starter, ready, {}, undefined), {
    for: "starter",
    dir: ".",
    answers: { k8sVersion: undefined, iso: undefined, isoSha256: undefined, imageconfig: undefined, stream: "starter" },
  });
  t.strictSame(starts(starter), ["What", "Name", "Folder"]);

  const rocky = scripted({ What: "rocky-8-capi", Kubernetes: "1.28.9", vCenter: "vc.lab", Folder: "site" });
  t.match(await interview(rocky, ready, {}, undefined), {
    for: "rocky-8-capi",
    dir: "site",
    answers: { k8sVersion: "1.28.9", imageconfig: ["vcenter_server=vc.lab"], stream: "rocky-8-capi" },
  });
  t.strictSame(starts(rocky), ["What", "Kubernetes", "vCenter", "Name", "Folder"]);
  t.match(rocky.asked[1], /supports .*1\.29\.4/, "the matrix is shown");

  const flags = scripted({ What: "rhel-9-capi" });
  const given = { k8sVersion: "1.28.9", iso: "x.iso", stream: "s", imageconfig: ["a=b"] };
  t.match(await interview(flags, ready, given, "there"), { dir: "there", answers: given });
  t.strictSame(starts(flags), ["What"], "flags are not asked again");
});

t.test("asks for the digest of a DVD only when it is not published", async (t) => {
  const ready = await readyManifests();
  const known = scripted({ What: "rhel-8-capi", Installation: "dvd/rhel-8.10-x86_64-dvd.iso" });
  t.match((await interview(known, ready, {}, ".")).answers, {
    iso: "dvd/rhel-8.10-x86_64-dvd.iso",
    isoSha256: undefined,
  });
  t.notOk(known.asked.some((it) => it.startsWith("Its SHA-256")));

  const own = scripted({ What: "rhel-9-capi", Installation: "own.iso", Its: "AB".repeat(32) });
  t.match((await interview(own, ready, {}, ".")).answers, { iso: "own.iso", isoSha256: "ab".repeat(32) });
});

t.test("names the fault of an answer that cannot be used", async (t) => {
  const ready = await readyManifests();
  const ask = scripted({ What: "rhel-9-capi", Kubernetes: "1.29", Installation: "own.iso", Its: "12", Name: "../x" });
  await interview(ask, ready, {}, ".");
  t.strictSame(ask.faults, [
    "a full version is needed, like 1.29.4",
    "64 hexadecimal digits are needed, or nothing",
    "letters, digits, dots, hyphens and underscores only",
  ]);
});
