/** src/server/process/metrics.ts, and what is made for it: alert rules, dashboard, and the table in docs/serve.md. */
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { parse } from "yaml";
import { cacheCounters, emptyCounters } from "../../../src/server/process/counters.ts";
import { formatMetrics } from "../../../src/server/process/metrics.ts";
import { clientPath, needs } from "../../fixtures/clients.ts";
import { startServer } from "../../fixtures/serving.ts";

const docs = join(import.meta.dirname, "../../../docs");
const GOOD = {
  stream: "good",
  content: { "files/x": "content of x" },
  catalog: { files: [{ path: "files/x" }] },
};
const promtool = (args: string[], input?: string) =>
  execFileSync(clientPath("promtool") ?? "", args, {
    input,
    encoding: "utf8",
    stdio: "pipe",
    cwd: join(docs, "monitoring"),
  });

const { url, metrics } = await serving();

async function serving() {
  const { url } = await startServer(t, [GOOD], { wanted: join(t.testdir(), "wanted.list") });
  for (const path of ["/files/x", "/files/x", "/files/none", "/"]) await (await fetch(url + path)).text();
  return { url, metrics: await (await fetch(`${url}/metrics`)).text() };
}

/** What a server of a bucket says in addition. */
const cache = cacheCounters(1, {
  misses: 1,
  fetchedBytes: 1,
  errors: 0,
  refused: 0,
  evictedChunks: 0,
  usedBytes: 1,
  documentBytes: 1,
  limitBytes: 2,
});
const ofBucket = formatMetrics({ ...emptyCounters(), cache }, { releases: [], freeBytes: 1 });
const names = new Set([...`${metrics}${ofBucket}`.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name ?? ""));

t.test("counts how long each answer took, the fast ones too", async (t) => {
  t.match(metrics, /^airferry_http_response_duration_seconds_count\{route="files"\} 3$/m);
  t.match(metrics, /^airferry_http_response_duration_seconds_bucket\{route="files",le="\+Inf"\} 3$/m);
  const buckets = [...metrics.matchAll(/_bucket\{route="files",le="[^"]+"\} (\d+)/g)].map(([, count]) => Number(count));
  t.strictSame(
    buckets,
    [...buckets].sort((a, b) => a - b),
    "each class has those below it",
  );
  const sum = Number(/_seconds_sum\{route="files"\} (\S+)/.exec(metrics)?.[1]);
  t.ok(sum > 0 && sum < 10, `${sum} s`);
});

t.test("says what an operator watches", async (t) => {
  t.match(metrics, /^airferry_build_info\{version="[^"]+",node="24\.[^"]+"\} 1$/m);
  t.match(metrics, /^airferry_store_free_bytes \d{4,}$/m);
  t.match(metrics, /^airferry_release_imported_timestamp_seconds\{stream="good"\} \d{9,}/m);
  t.ok(names.has("airferry_release_expiry_timestamp_seconds"), "the family is there, whether or not a release expires");
});

t.test("Prometheus reads it without a complaint", async (t) => {
  if (!needs(t, "promtool")) return;
  for (const it of [await (await fetch(`${url}/metrics`)).text(), ofBucket])
    t.equal(promtool(["check", "metrics"], it), "");
});

t.test("docs/serve.md has every name", async (t) => {
  const text = readFileSync(join(docs, "serve.md"), "utf8");
  for (const name of names) t.ok(text.includes(`\`${name}`), name);
});

t.test("the alert rules are right, and fire when they should", async (t) => {
  if (!needs(t, "promtool")) return;
  promtool(["check", "rules", "alerts.yaml"]);
  promtool(["test", "rules", "alerts.test.yaml"]);
  t.pass("promtool");
});

t.test("alerts and dashboard ask for what is there", async (t) => {
  const rules = parse(readFileSync(join(docs, "monitoring/alerts.yaml"), "utf8"));
  const dashboard = JSON.parse(readFileSync(join(docs, "monitoring/dashboard.json"), "utf8"));
  const panels: { title: string; targets: { expr: string }[] }[] = dashboard.panels;
  const asked: string[] = [
    ...rules.groups.flatMap((it: { rules: { expr: string }[] }) => it.rules.map((rule) => rule.expr)),
    ...panels.flatMap((it) => it.targets.map((target) => target.expr)),
    ...dashboard.annotations.list.map((it: { expr: string }) => it.expr),
  ];
  t.ok(asked.length > 15);
  for (const expr of asked)
    for (const [name] of expr.matchAll(/airferry_\w+/g))
      t.ok(names.has(name.replace(/_(?:bucket|sum|count)$/, "")), name);
  if (!needs(t, "promtool")) return;
  const file = join(t.testdir(), "expressions.yaml");
  const text = (expr: string) => expr.replaceAll("$__rate_interval", "5m").replaceAll("$__interval", "1m");
  const list = asked.map((expr, at) => ({ record: `airferry:expression:${at}`, expr: text(expr) }));
  writeFileSync(file, JSON.stringify({ groups: [{ name: "dashboard", rules: list }] }));
  promtool(["check", "rules", file]);
});
