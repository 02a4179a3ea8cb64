/** A folder of loose RPMs with our metadata, asked by real dnf beside the same folder with createrepo_c's. */
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { readLoosePackage, writeLooseRepodata } from "../../src/rpm/loose-packages.ts";
import { needs } from "../fixtures/clients.ts";
import { fixtureRpms, inMemory, RPM_FIXTURES } from "../fixtures/rpm-files.ts";

// One package of createrepo_c is left out: it loses letters of it, see test/rpm/loose-packages.test.ts.
const PICK =
  /^(katello-zoo\/zoo\/|artipie-el7\/|generated-modular\/rpms\/|createrepo_c\/packages\/(?!balicek-iso88592)|rpm-rs\/RPMS\/v[46]\/[^/]*$)/;
const FORMAT =
  "%{name} %{epoch}:%{version}-%{release}.%{arch} %{summary} %{buildtime} %{installsize} %{downloadsize} %{location} %{sourcerpm} %{url}";

const QUESTIONS = [
  ["--qf", FORMAT],
  ...[
    "provides",
    "requires",
    "requires-pre",
    "conflicts",
    "obsoletes",
    "recommends",
    "suggests",
    "supplements",
    "enhances",
  ].map((it) => [`--${it}`]),
  ["--list"],
  ["--changelogs"],
];

t.test("dnf finds the same in our metadata as in createrepo_c's", async (t) => {
  if (!needs(t, "dnf", "createrepo_c")) return;
  const root = t.testdir({ ours: {}, theirs: {}, empty: {} });
  const paths = fixtureRpms().filter((it) => PICK.test(it));
  for (const path of paths) {
    for (const folder of ["ours", "theirs"]) {
      copyFileSync(join(RPM_FIXTURES, path), join(root, folder, path.replace(/.*\//, "")));
    }
  }
  execFileSync("createrepo_c", ["-q", "--compress-type", "gz", join(root, "theirs")], { stdio: "ignore" });
  const ours = join(root, "ours");
  const packages = [];
  for (const href of readdirSync(ours)) {
    packages.push(await readLoosePackage({ href, bytes: inMemory(readFileSync(join(ours, href))) }));
  }
  const { files, repomd } = await writeLooseRepodata(packages, new Date("2026-11-23T00:00:00Z"));
  mkdirSync(join(ours, "repodata"));
  for (const { path, bytes } of files) writeFileSync(join(ours, path), bytes);
  writeFileSync(join(ours, "repodata/repomd.xml"), repomd);

  const ask = (folder: string, question: readonly string[]) => {
    const options = [
      "-q",
      "--installroot",
      join(root, "empty"),
      "--releasever=9",
      "--forcearch=x86_64",
      `--setopt=cachedir=${join(root, "cache", folder)}`,
      "--setopt=reposdir=/nonexistent",
      `--repofrompath=it,file://${join(root, folder)}`,
      "--repo=it",
      "repoquery",
      "--all",
      ...question,
    ];
    return execFileSync("dnf", options, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"], maxBuffer: 1 << 26 });
  };
  for (const question of QUESTIONS) {
    const answer = ask("ours", question);
    t.equal(answer, ask("theirs", question), `repoquery ${question[0]}`);
    if (question[0] === "--qf") t.ok(answer.split("\n").length > 30, "there is something to compare");
  }
});
