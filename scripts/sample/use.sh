# Sourced by quickstart: uses the kinds of content that need more than a download.
use_rest() { # base URL
  node --input-type=module -e '
    import { createHash } from "node:crypto";
    import { gunzipSync } from "node:zlib";
    const [url] = process.argv.slice(1);
    const bytes = async (path) => {
      const response = await fetch(url + path);
      if (!response.ok) { console.error(`${path}: ${response.status}`); process.exit(1); }
      return Buffer.from(await response.arrayBuffer());
    };
    const text = async (path) => (await bytes(path)).toString().trim();
    const sha256 = (it) => createHash("sha256").update(it).digest("hex");
    const say = (path, what) => console.log(`${url}${path}  ${what}`);
    const must = (it, what) => { if (!it) { console.error(`wrong: ${what}`); process.exit(1); } };

    say("/files/runc.amd64.sha256", await text("/files/runc.amd64.sha256"));
    say("/isos/sample-9/.treeinfo", `${(await text("/isos/sample-9/.treeinfo")).split("\n").length} lines, read out of the ISO`);

    const repomd = await text("/rpms/kubernetes/repodata/repomd.xml");
    const href = /<data type="primary">[\s\S]*?<location href="([^"]+)"/.exec(repomd)[1];
    const primary = gunzipSync(await bytes(`/rpms/kubernetes/${href}`)).toString();
    const packages = [...primary.matchAll(/<package type="rpm">[\s\S]*?<checksum type="sha256"[^>]*>([0-9a-f]+)<[\s\S]*?<location href="([^"]+)"/g)];
    for (const [, digest, path] of packages) must(sha256(await bytes(`/rpms/kubernetes/${path}`)) === digest, path);
    await bytes("/rpms/kubernetes/repodata/repomd.xml.asc");
    say("/rpms/kubernetes/", `${packages.length} packages, metadata signed, every digest right`);
    say("/config/airferry.repo", (await text("/config/airferry.repo")).split("\n").filter((line) => line.startsWith("[")).join(" "));

    const [name] = JSON.parse(await text("/v2/_catalog")).repositories;
    const index = await bytes(`/v2/${name}/manifests/3.10`);
    const child = JSON.parse(index).manifests.find((it) => it.platform.architecture === "amd64");
    const image = JSON.parse(await text(`/v2/${name}/manifests/${child.digest}`));
    const layer = await bytes(`/v2/${name}/blobs/${image.layers[0].digest}`);
    must(`sha256:${sha256(layer)}` === image.layers[0].digest, "layer");
    say(`/v2/${name}/manifests/3.10`, `sha256:${sha256(index).slice(0, 12)}…, its layer ${layer.length} bytes`);
    say("/healthz", await text("/healthz"));
  ' "$1"
}
