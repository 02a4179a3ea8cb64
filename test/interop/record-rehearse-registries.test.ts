/**
 * pip, npm, go, cargo, Maven and apt, recorded at the registries that this machine's own configuration has for them, and
 * rehearsed by the same commands. Nothing here says which those are: only the clients know. One that answers nobody is
 * skipped.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { readRecording } from "../../src/io/web-recording.ts";
import { clientEnvironment } from "../../src/record/client-environment.ts";
import { absent, clientEnv, needs } from "../fixtures/clients.ts";
import { writeKeyPairs } from "../fixtures/keys.ts";
import { CHECKOUT, commandEnvironment, type Ran, scratch, start, writeManifest } from "../fixtures/program.ts";
import { takeOut } from "../fixtures/record-lab.ts";

/** Two, as the host of files may have nothing else, and of a host without answers only the name is known to be missing. */
const PIP = `rm -rf site; unset PIP_FIND_LINKS
python3 -m pip install -q --disable-pip-version-check --root-user-action ignore --no-deps --target site iniconfig==2.0.0 six==1.16.0
test -f site/iniconfig/__init__.py; test -f site/six.py
`;
const NPM = `rm -rf npm; mkdir npm
npm install --silent --no-audit --no-fund --no-update-notifier --prefix npm is-number@7.0.0
test -f npm/node_modules/is-number/package.json
`;
const GO = `export GOTOOLCHAIN=local
go mod download -json github.com/pkg/errors@v0.9.1
`;
const CARGO = `rm -rf crate; mkdir -p crate/src; : > crate/src/lib.rs
printf '[package]\\nname = "it"\\nversion = "0.1.0"\\nedition = "2021"\\n[dependencies]\\ncfg-if = "=1.0.0"\\n' > crate/Cargo.toml
cd crate; cargo fetch -q
`;
const MAVEN = `mkdir -p maven
bom='<groupId>org.junit</groupId><artifactId>junit-bom</artifactId><version>5.10.0</version><type>pom</type><scope>import</scope>'
echo "<project><modelVersion>4.0.0</modelVersion><groupId>it</groupId><artifactId>it</artifactId><version>1</version>
<packaging>pom</packaging><dependencyManagement><dependencies><dependency>$bom</dependency></dependencies></dependencyManagement>
</project>" > maven/pom.xml
mvn -B -q -f maven/pom.xml validate
`;
/** Of the machine's sources the one that is likely to be the smallest, and its smallest package. */
const APT = `rm -rf apt; mkdir -p apt/lists/partial apt/cache/archives/partial apt/got apt/etc/preferences.d apt/trusted; : > apt/status
apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' > apt/all
{ grep -e '-updates ' apt/all || cat apt/all; } | head -n 1 > apt/sources.list
ln -sf /usr/share/keyrings/*.gpg /etc/apt/trusted.gpg.d/* apt/trusted/
set -- -q -o Dir::Etc=$PWD/apt/etc -o Dir::Etc::sourcelist=$PWD/apt/sources.list -o Dir::Etc::trustedparts=$PWD/apt/trusted -o Dir::State=$PWD/apt -o Dir::State::status=$PWD/apt/status -o Dir::Cache=$PWD/apt/cache -o APT::Sandbox::User=root
apt-get "$@" -o Acquire::Languages=none update
name=$(apt-cache "$@" dumpavail | awk '/^Package:/ { name = $2 } /^Size:/ { print $2, name }' | sort -n | sed -n '1s/.* //p')
cd apt/got; apt-get "$@" download "$name"
`;

/** A client, its build, and what matches the URL of what the build is about. */
type Build = readonly [client: string, script: string, out: RegExp];
const BUILDS: readonly Build[] = [
  ["pip", PIP, /\.whl$/],
  ["npm", NPM, /\.tgz$/],
  ["go", GO, /\.zip$/],
  ["cargo", CARGO, /\/download$|\.crate$/],
  ["mvn", MAVEN, /\.pom$/],
  ["apt-get", APT, /\.deb$/],
];
/** Runs builds as they were recorded, one after another, and says which failed. */
const EACH =
  'status=0; for it; do sh -ec "$it" >&2 || { status=1; printf "%s\\n\\0" "$it"; }; done > failed; exit $status';
/** A store of keys that is there already: making one takes a second. */
const OWN_KEYS = "-Djavax.net.ssl.trustStore=own";
const RECORD_SECONDS = 60;
const DIRECT_SECONDS = 15;
const NO_NETWORK = [
  "unshare",
  ...(process.getuid?.() === 0 ? [] : ["--user", "--map-root-user"]),
  "--net",
  "--",
] as const;
/** Who does not answer is asked once more, and soon. */
const RETRIES = { PIP_RETRIES: "1", npm_config_fetch_retries: "1", npm_config_fetch_retry_mintimeout: "1000" };

/** The network of this machine, its proxies too; a virtual machine of Java's that starts quickly. */
function environment(client?: string): NodeJS.ProcessEnv {
  const proxies = Object.entries(process.env).filter(([name]) => /^(https?|all|no)_proxy$/i.test(name));
  const java = client === undefined || client === "mvn" ? "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC" : OWN_KEYS;
  return { ...Object.fromEntries(proxies), ...RETRIES, PATH: clientEnv().PATH, JAVA_TOOL_OPTIONS: java };
}

/** Of what a recorded build gets; its proxy and CA are not for one that is not recorded. */
const CACHES = ["GOPATH", "GOMODCACHE", "GOFLAGS", "CARGO_HOME", "npm_config_cache", "PIP_NO_CACHE_DIR", "MAVEN_OPTS"];

/** Whether a build succeeds without airferry, with empty caches, in seconds. */
async function succeedsDirectly(dir: string, [client, script]: Build): Promise<boolean> {
  const own = join(dir, `direct-${client}`);
  mkdirSync(own);
  const none = join(own, "none");
  const env = { ...commandEnvironment(own), ...environment(client) };
  const made = await clientEnvironment(env, { dir: own, bundle: none, caFile: none, keepCaches: false });
  const caches = CACHES.map((name) => [name, made[name]] as const);
  const within = ["timeout", "-k", "2", String(DIRECT_SECONDS), "sh", "-ec"] as const;
  const { status } = await start(own, [script], { ...env, ...Object.fromEntries(caches) }, within).done;
  return status === 0;
}

/** Records a build; false where nobody could have. */
async function isRecorded(t: Test, dir: string, build: Build): Promise<boolean> {
  const [client, script] = build;
  const args = ["record", "--out", `${client}.yaml`, "--", "sh", "-ec", script];
  const within = ["timeout", "-k", "5", String(RECORD_SECONDS), ...CHECKOUT] as const;
  const { status, stderr } = await start(dir, args, environment(client), within).done;
  if (status !== 0 && !(await succeedsDirectly(dir, build))) {
    t.pass(client, { skip: "its registry does not answer" });
    return false;
  }
  t.equal(status, 0, `${client} is recorded`, { stderr });
  return status === 0;
}

t.test("pip, npm, go, cargo, Maven and apt, at this machine's registries", async (t) => {
  if (!needs(t, "unshare", "timeout")) return;
  if (spawnSync(NO_NETWORK[0], [...NO_NETWORK.slice(1), "true"]).status !== 0)
    return absent(t, "a kernel with network namespaces for this user");
  const here = BUILDS.filter(([client]) => needs(t, client));
  const dir = scratch(t, "regs");
  await writeKeyPairs(dir);
  const done = await Promise.all(here.map((it) => isRecorded(t, dir, it)));
  const builds = here.filter((_, at) => done[at]);
  if (builds.length === 0) return;

  /** Packs recordings where there is no network, and rehearses all the builds. */
  const rehearse = async (stream: string, recordingOf: (client: string) => string) => {
    const web = builds.map(([name]) => ({ name, recording: recordingOf(name) }));
    writeManifest(dir, { stream, web }, `${stream}.yaml`);
    const pack = ["pack", `${stream}.yaml`, "--key", "k.key", "-q"];
    const packed = await start(dir, pack, environment(), [...NO_NETWORK, ...CHECKOUT]).done;
    if (packed.status !== 0) throw new Error(packed.stderr);
    const scripts = builds.map(([, script]) => script);
    const args = ["rehearse", packed.stdout.trim(), "--trust", "k.pub", "--json", "--", "sh", "-c", EACH, "sh"];
    const ran: Ran = await start(dir, [...args, ...scripts], environment()).done;
    const document: { status: number; missing: { what: string }[] } = JSON.parse(ran.stdout);
    const failed = readFileSync(join(dir, "failed"), "utf8").split("\n\0");
    return { ...ran, missing: document.missing.map((it) => it.what), failed };
  };
  const whole = await rehearse("whole", (client) => `./${client}.recording`);
  t.equal(whole.status, 0, "each succeeds from the bundle alone", { stderr: whole.stderr });
  t.strictSame(whole.missing, [], "nothing is missing");

  const taken = new Map<string, string>();
  const hosts = new Set<string>();
  for (const [client, , out] of builds) {
    const { answers } = await readRecording(join(dir, `${client}.recording`));
    const urls = answers.map((it) => it.url);
    const url = urls.findLast((it) => out.test(new URL(it).pathname)) ?? "";
    taken.set(client, url);
    for (const it of urls) if (it !== url) hosts.add(new URL(it).host);
    takeOut(join(dir, `${client}.recording`), join(dir, `${client}-less.recording`), (it) => it === url);
  }
  const less = await rehearse("less", (client) => `./${client}-less.recording`);
  t.not(less.status, 0);
  for (const [client, script] of builds) {
    t.ok(less.failed.includes(script), `${client} fails without one answer`);
    const url = taken.get(client) ?? "";
    const { host } = new URL(url);
    t.ok(less.missing.includes(hosts.has(host) ? url : host), `${client}: what it lacks is named`);
  }
});
