/** scripts/rehearsal: the build's own programs against packed and unpacked ready manifests, in network namespaces. */
import t from "tap";
import { rehearse } from "../fixtures/rehearsal.ts";

t.test("every row of the short rehearsal", { timeout: 600_000 }, async (t) => {
  const rows = await rehearse(t, "--short");
  if (rows === undefined) return;
  t.ok(rows.length >= 18, `${rows.length} rows`);
  const fetched = rows.flatMap((it) => it.fetched);
  t.ok(fetched.length > 80, `${fetched.length} requests in the access log`);
  t.strictSame(
    fetched.filter((it) => it.status >= 500),
    [],
    "no request ended with a server error",
  );
});
