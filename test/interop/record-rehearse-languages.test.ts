/**
 * pip, npm, go, cargo, Maven and apt, recorded at registries of the lab and rehearsed by the same commands. What is taken out of
 * the recording is named.
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import type { RequestListener } from "node:http";
import { join } from "node:path";
import t from "tap";
import { clientPath, needs } from "../fixtures/clients.ts";
import { onOwnMachine } from "../fixtures/own-machine.ts";
import { scratch } from "../fixtures/program.ts";
import { recordAndRehearse, recordLab } from "../fixtures/record-lab.ts";

/** Makes what registries have, in folders by host. */
const MAKE = `
mkdir -p pypi/simple/lab pypi/files npm/lab/- go/lab.example/tool/@v cargo/index/la/bt cargo/dl/labtool/1.0.0 apt/pool
python3 - <<'PYTHON'
import zipfile
with zipfile.ZipFile("pypi/files/lab-1.0-py3-none-any.whl", "w") as wheel:
    wheel.writestr("lab.py", "value = 1\\n")
    wheel.writestr("lab-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: lab\\nVersion: 1.0\\n")
    wheel.writestr("lab-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nGenerator: lab\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    wheel.writestr("lab-1.0.dist-info/RECORD", "lab.py,,\\nlab-1.0.dist-info/METADATA,,\\nlab-1.0.dist-info/WHEEL,,\\nlab-1.0.dist-info/RECORD,,\\n")
with zipfile.ZipFile("go/lab.example/tool/@v/v1.0.0.zip", "w") as module:
    module.writestr("lab.example/tool@v1.0.0/go.mod", "module lab.example/tool\\n\\ngo 1.21\\n")
    module.writestr("lab.example/tool@v1.0.0/tool.go", "package tool\\n")
PYTHON
echo '<a href="/files/lab-1.0-py3-none-any.whl">lab-1.0-py3-none-any.whl</a>' > pypi/simple/lab/index.html
printf 'module lab.example/tool\\n\\ngo 1.21\\n' > go/lab.example/tool/@v/v1.0.0.mod
echo '{"Version":"v1.0.0","Time":"2026-01-01T00:00:00Z"}' > go/lab.example/tool/@v/v1.0.0.info
mkdir package; echo '{"name":"lab","version":"1.0.0"}' > package/package.json; tar -czf npm/lab/-/lab-1.0.0.tgz package
mkdir -p labtool-1.0.0/src; : > labtool-1.0.0/src/lib.rs
printf '[package]\\nname = "labtool"\\nversion = "1.0.0"\\nedition = "2021"\\n' > labtool-1.0.0/Cargo.toml
tar -czf cargo/dl/labtool/1.0.0/download labtool-1.0.0
mkdir -p maven/lab/parent/1
pom='<project><modelVersion>4.0.0</modelVersion><groupId>lab</groupId><artifactId>parent</artifactId><version>1</version>'
echo "$pom<packaging>pom</packaging></project>" > maven/lab/parent/1/parent-1.pom
mkdir -p deb/DEBIAN
printf 'Package: lab\\nVersion: 1.0\\nArchitecture: all\\nMaintainer: lab <lab@example.com>\\nDescription: lab\\n' > deb/DEBIAN/control
dpkg-deb -b deb apt/pool/lab_1.0_all.deb
cd apt; deb=pool/lab_1.0_all.deb
{ cat ../deb/DEBIAN/control; echo "Filename: $deb"; echo "Size: $(wc -c < $deb)"; echo "SHA256: $(sha256sum < $deb | cut -c-64)"; } > Packages
printf 'Date: Mon, 30 Nov 2026 00:00:00 UTC\\nSHA256:\\n %s %s Packages\\n' $(sha256sum < Packages | cut -c-64) $(wc -c < Packages) > Release
`;

/** The files below a folder; `index.html` is its folder's. */
function folder(dir: string): RequestListener {
  return (request, response) => {
    const { pathname } = new URL(request.url ?? "/", "https://lab.example");
    const file = join(dir, pathname.endsWith("/") ? `${pathname}index.html` : pathname);
    const isThere = statSync(file, { throwIfNoEntry: false })?.isFile() === true;
    const type = file.endsWith(".html") ? "text/html" : file.endsWith(".json") ? "application/json" : undefined;
    if (isThere) response.writeHead(200, type && { "content-type": type }).end(readFileSync(file));
    else response.writeHead(404).end("not here");
  };
}

const PIP = `rm -rf site
python3 -m pip install -q --disable-pip-version-check --root-user-action ignore --target site --index-url https://pypi.lab.example/simple/ lab==1.0
test -f site/lab.py
`;
const NPM = `rm -rf npm; mkdir npm
npm install --silent --no-audit --no-fund --no-update-notifier --prefix npm --registry https://npm.lab.example/ lab@1.0.0
test -f npm/node_modules/lab/package.json
`;
const GO = `export GOPROXY=https://go.lab.example GOSUMDB=off GOTOOLCHAIN=local
go mod download -json lab.example/tool@v1.0.0
`;
const CARGO = `rm -rf crate; mkdir -p crate/src crate/.cargo; : > crate/src/lib.rs
printf '[registries.lab]\\nindex = "sparse+https://cargo.lab.example/index/"\\n' > crate/.cargo/config.toml
printf '[package]\\nname = "it"\\nversion = "0.1.0"\\nedition = "2021"\\n[dependencies]\\nlabtool = { version = "1", registry = "lab" }\\n' > crate/Cargo.toml
cd crate; cargo fetch -q
`;
/** Its parent is in a repository. */
const MAVEN = `mkdir -p maven
echo '<settings><mirrors><mirror><id>lab</id><mirrorOf>*</mirrorOf><url>https://maven.lab.example/</url></mirror></mirrors></settings>' > maven/settings.xml
parent='<parent><groupId>lab</groupId><artifactId>parent</artifactId><version>1</version><relativePath/></parent>'
echo "<project><modelVersion>4.0.0</modelVersion>$parent<artifactId>it</artifactId><packaging>pom</packaging></project>" > maven/pom.xml
mvn -B -q -s maven/settings.xml -f maven/pom.xml validate
`;
const APT = `rm -rf apt; mkdir -p apt/lists/partial apt/cache/archives/partial apt/got apt/etc; : > apt/status
echo 'deb [trusted=yes] https://apt.lab.example/ ./' > apt/sources.list
set -- -q -o Dir::Etc=$PWD/apt/etc -o Dir::Etc::sourcelist=$PWD/apt/sources.list -o Dir::State=$PWD/apt -o Dir::State::status=$PWD/apt/status -o Dir::Cache=$PWD/apt/cache -o APT::Sandbox::User=root
apt-get "$@" -o Acquire::Languages=none update
cd apt/got; apt-get "$@" download lab
`;

/** Of these scripts/test installs none: compilers and their registries' clients are large. */
const LANGUAGES = new Map([
  ["pip", "pip"],
  ["npm", "npm"],
  ["go", "go"],
  ["cargo", "cargo"],
  ["maven", "mvn"],
]);

if ((await onOwnMachine(t, import.meta.filename)) && needs(t, "python3", "apt-get", "dpkg-deb")) {
  t.test("pip, npm, go, cargo, Maven and apt", async (t) => {
    const up = scratch(t, "up");
    execFileSync("sh", ["-ec", MAKE], { cwd: up, stdio: ["ignore", "ignore", "pipe"] });
    const at = (...path: string[]) => join(up, ...path);
    const hash = (algorithm: string, encoding: "hex" | "base64", file: string) =>
      createHash(algorithm).update(readFileSync(file)).digest(encoding);
    const crate = { name: "labtool", vers: "1.0.0", deps: [], features: {}, yanked: false };
    const cksum = hash("sha256", "hex", at("cargo/dl/labtool/1.0.0/download"));
    writeFileSync(at("cargo/index/la/bt/labtool"), `${JSON.stringify({ ...crate, cksum })}\n`);
    writeFileSync(at("cargo/index/config.json"), '{"dl":"https://cargo.lab.example/dl"}');
    const integrity = `sha512-${hash("sha512", "base64", at("npm/lab/-/lab-1.0.0.tgz"))}`;
    const version = {
      name: "lab",
      version: "1.0.0",
      dist: { tarball: "https://npm.lab.example/lab/-/lab-1.0.0.tgz", integrity },
    };
    const npmDocument = JSON.stringify({
      name: "lab",
      "dist-tags": { latest: "1.0.0" },
      versions: { "1.0.0": version },
    });
    const npm: RequestListener = (request, response) => {
      if (request.url === "/lab") response.writeHead(200, { "content-type": "application/json" }).end(npmDocument);
      else folder(at("npm"))(request, response);
    };
    const lab = await recordLab(t, {
      "pypi.lab.example": folder(at("pypi")),
      "npm.lab.example": npm,
      "go.lab.example": folder(at("go")),
      "cargo.lab.example": folder(at("cargo")),
      "maven.lab.example": folder(at("maven")),
      "apt.lab.example": folder(at("apt")),
    });
    const builds = [
      ["pip", PIP, /\.whl$/],
      ["npm", NPM, /\.tgz$/],
      ["go", GO, /v1\.0\.0\.zip$/],
      ["cargo", CARGO, /\/download$/],
      ["maven", MAVEN, /\/parent-1\.pom$/],
      ["apt", APT, /\.deb$/],
    ] as const;
    const isHere = (name: string) => !LANGUAGES.has(name) || clientPath(LANGUAGES.get(name) ?? "") !== undefined;
    for (const [name] of builds) if (!isHere(name)) t.pass(name, { skip: `${name} is not installed` });
    await recordAndRehearse(
      t,
      lab,
      builds.filter(([name]) => isHere(name)),
    );
  });
}
