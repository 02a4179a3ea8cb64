# Sourced by quickstart: uses the kinds of content that need more than a download.
use_rest() { # base URL
  node --input-type=module -e '
    const [url] = process.argv.slice(1);
    const text = async (path) => {
      const response = await fetch(url + path);
      if (!response.ok) { console.error(`${path}: ${response.status}`); process.exit(1); }
      return (await response.text()).trim();
    };
    console.log(`${url}/files/runc.amd64.sha256  ${await text("/files/runc.amd64.sha256")}`);
    console.log(`${url}/isos/sample-9/.treeinfo  ${(await text("/isos/sample-9/.treeinfo")).split("\n").length} lines out of the ISO`);
    console.log(`${url}/healthz  ${await text("/healthz")}`);
  ' "$1"
}
