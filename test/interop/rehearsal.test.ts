/** scripts/rehearsal: the build's own programs against a packed and unpacked rocky-9-capi, in network namespaces. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import t from "tap";
import { absent, needs } from "../fixtures/clients.ts";
import { EL_DVD_TOOLS } from "../fixtures/el-dvd.ts";

interface Row {
  name: string;
  command: string;
  result: string;
  detail: string;
  fetched: { path: string; status: number }[];
}

t.test("every row of the rehearsal", { timeout: 600_000 }, async (t) => {
  if (process.platform !== "linux" || process.getuid?.() !== 0) return absent(t, "root on Linux (network namespaces)");
  if (!needs(t, ...EL_DVD_TOOLS, "ip", "curl", "skopeo", "docker-registry")) return;
  const { status, stdout, stderr } = await new Promise<{ status: number; stdout: string; stderr: string }>(
    (resolve) => {
      const script = join(import.meta.dirname, "../../scripts/rehearsal");
      execFile(script, ["--json"], { maxBuffer: 1 << 26 }, (error, out, err) => {
        resolve({ status: error === null ? 0 : Number(error.code ?? 1), stdout: out, stderr: err });
      });
    },
  );
  t.equal(status, 0, stderr.slice(-2000));
  const rows = JSON.parse(stdout || "[]") as Row[];
  t.ok(rows.length >= 13, `${rows.length} rows`);
  for (const row of rows) {
    if (row.result === "skipped") t.pass(row.name, { skip: row.detail });
    else t.equal(row.result, "ok", `${row.name}: ${row.detail}`);
  }
  const fetched = rows.flatMap((it) => it.fetched);
  t.ok(fetched.length > 80, `${fetched.length} requests in the access log`);
  t.strictSame(
    fetched.filter((it) => it.status >= 500),
    [],
    "no request ended with a server error",
  );
});
