/** Rewrites of URLs: prefixes and hosts, at their boundaries. */
import t from "tap";
import { rewriteUrl } from "../../src/http/rewrite.ts";

t.test("rewriteUrl() replaces prefixes and hosts at their boundaries", (t) => {
  const rules = [
    { from: "https://dl.example.org/pub/", to: "http://mirror.corp/dl/" },
    { from: "https://dl.example.org/pub/special/", to: "http://special.corp/" },
    { from: "https://bare.example.org", to: "http://mirror.corp:8080/bare/" },
    { from: "registry.example.com", to: "127.0.0.1:5000" },
    { from: "docker.io", to: "harbor.corp/hub" },
    { from: "quay.io:443", to: "http://quay.corp" },
  ];
  const cases = new Map([
    ["https://dl.example.org/pub/x?y=1", "http://mirror.corp/dl/x?y=1"],
    ["https://dl.example.org/pub/special/x", "http://special.corp/x"],
    ["https://dl.example.org/public/x", "https://dl.example.org/public/x"],
    ["https://bare.example.org/x", "http://mirror.corp:8080/bare/x"],
    ["https://bare.example.org", "http://mirror.corp:8080/bare/"],
    ["https://bare.example.org.evil/x", "https://bare.example.org.evil/x"],
    ["https://bare.example.org@evil/x", "https://bare.example.org@evil/x"],
    ["http://registry.example.com/v2/a/manifests/1", "http://127.0.0.1:5000/v2/a/manifests/1"],
    ["https://registry.example.com:444/v2/", "https://registry.example.com:444/v2/"],
    ["https://xregistry.example.com/v2/", "https://xregistry.example.com/v2/"],
    ["https://registry-1.docker.io/v2/library/x/blobs/1", "https://harbor.corp/v2/hub/library/x/blobs/1"],
    ["https://quay.io/v2/a/", "http://quay.corp/v2/a/"],
  ]);
  for (const [url, expected] of cases) t.equal(rewriteUrl(url, rules), expected);
  t.end();
});
