/** The clients' rows of scripts/rehearsal with stock nginx over `export tree` in the server's place. */
import t from "tap";
import { needs } from "../fixtures/clients.ts";
import { rehearse } from "../fixtures/rehearsal.ts";

const ROWS = ["doctor", "get_url: crictl", "dnf install", "rpmrepo", "CRI pulls", "packer fetches", "virt-install"];

t.test("clients of a build find in a written tree what they find in a server", { timeout: 600_000 }, async (t) => {
  if (!needs(t, "nginx")) return;
  const rows = await rehearse(t, "--short", "--nginx", ...ROWS);
  if (rows === undefined) return;
  for (const name of ROWS)
    t.ok(
      rows.some((it) => it.name.includes(name)),
      name,
    );
  const fetched = rows.flatMap((it) => it.fetched);
  t.ok(fetched.length > 60, `${fetched.length} requests in nginx's log`);
  t.strictSame(
    fetched.filter((it) => it.status >= 500),
    [],
  );
});
