/** src/server/process/unit.ts: unit files for the flags of `serve`, held against systemd's own reader where it is. */
import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import t from "tap";
import { unitFile } from "../../../src/serve.ts";
import { unitFor } from "../../../src/server/process/unit.ts";
import { clientPath, needs } from "../../fixtures/clients.ts";

const line = (unit: string, key: string) =>
  unit.split("\n").flatMap((it) => (it.startsWith(`${key}=`) ? [it.slice(key.length + 1)] : []));

t.test("repeats the flags with absolute paths", async (t) => {
  const unit = unitFile("service", {
    store: "/srv/air ferry",
    listen: "127.0.0.1:9443",
    tls: "a.crt,a.key",
    htpasswd: "/etc/airferry/users",
    accessLog: "/var/log/airferry/access.log",
    url: "https://mirror.example.com/100%",
    workers: 3,
  });
  const [start = ""] = line(unit, "ExecStart");
  const here = process.cwd();
  t.match(start, / serve --store "\/srv\/air ferry" --listen 127\.0\.0\.1:9443 --tls /);
  t.ok(start.includes(`--tls ${here}/a.crt,${here}/a.key`), start);
  t.ok(
    start.endsWith(
      "--url https://mirror.example.com/100%% --htpasswd /etc/airferry/users --access-log /var/log/airferry/access.log --workers 3",
    ),
    start,
  );
  t.strictSame(line(unit, "RequiresMountsFor"), ['"/srv/air ferry"']);
  t.strictSame(line(unit, "ReadWritePaths"), ["/var/log/airferry"]);
  t.strictSame(line(unit, "DynamicUser"), ["yes"]);
  t.strictSame(line(unit, "CapabilityBoundingSet"), [""]);
});

t.test("gives the one capability for ports below 1024, and an account when one is named", async (t) => {
  const unit = unitFile("service", {
    store: "/srv/a",
    listen: "0.0.0.0:443",
    listenHttp: [":80"],
    tls: "auto",
    user: "web",
  });
  t.strictSame(line(unit, "AmbientCapabilities"), ["CAP_NET_BIND_SERVICE"]);
  t.strictSame(line(unit, "CapabilityBoundingSet"), ["CAP_NET_BIND_SERVICE"]);
  t.strictSame(line(unit, "User"), ["web"]);
  t.strictSame(line(unit, "DynamicUser"), []);
  t.match(line(unit, "ExecStart")[0], /--tls auto --tls-dir \/var\/lib\/airferry\/tls/);
});

t.test("shows the sandbox a store in a folder that it hides", async (t) => {
  const unit = unitFile("service", { store: "/home/me/store" });
  t.strictSame(line(unit, "ProtectHome"), ["tmpfs"]);
  t.ok(line(unit, "BindReadOnlyPaths").includes("/home/me/store"));
});

t.test("shows the sandbox all of a checkout, not its first file alone", async (t) => {
  const program = ["/usr/bin/node", "/home/me/airferry/src/bin.ts"];
  const unit = unitFor({ store: "/srv/a", program }, [{ host: "0.0.0.0", port: 9000 }]);
  t.strictSame(line(unit, "BindReadOnlyPaths"), ["/home/me/airferry"]);
});

t.test("the socket unit listens where the flags say", async (t) => {
  const unit = unitFile("socket", {
    store: "/srv/a",
    listen: "0.0.0.0:443",
    listenHttp: ["[::1]:80", "[::1]:8080"],
    workers: 2,
  });
  t.strictSame(
    line(unit, "ListenStream"),
    ["0.0.0.0:443", "0.0.0.0:443", "[::1]:80", "[::1]:80", "[::1]:8080", "[::1]:8080"],
    "one for each thread",
  );
  const both = unitFile("socket", { store: "/srv/a", listen: "[::]:9000", workers: 1 });
  t.strictSame(line(both, "ListenStream"), ["9000"], "both families");
});

t.test("refuses what serve would refuse", async (t) => {
  t.throws(() => unitFile("service", { store: "/srv/a", listen: "nowhere" }), { code: "ERR_USAGE" });
  t.throws(() => unitFile("service", { store: "/srv/a", url: "mirror" }), { code: "ERR_USAGE" });
  for (const tls of ["a,b,c", "a", ",b", "on"])
    t.throws(() => unitFile("service", { store: "/srv/a", tls }), { code: "ERR_USAGE", message: /expected off, auto/ });
  const inside = { store: "/srv/a", tls: "auto", tlsDir: "/srv/a/tls" };
  t.throws(() => unitFile("service", inside), { code: "ERR_USAGE", message: /inside the store/ });
});

t.test("a store in a bucket is no path, and its credentials are in a file of their own", async (t) => {
  const store = "s3://airferry/site?endpoint=https://s3.example:9000&region=us-east-1";
  const unit = unitFile("service", { store, cache: "/data/cache", cacheSize: "20GiB", redirect: "above=64MiB" });
  t.match(
    line(unit, "ExecStart")[0],
    `serve --store "${store}" --cache /data/cache --cache-size 20GiB --redirect above=64MiB`,
  );
  t.strictSame(line(unit, "RequiresMountsFor"), []);
  t.strictSame(line(unit, "EnvironmentFile"), ["-/etc/airferry/bucket.env"]);
  t.strictSame(line(unit, "ReadWritePaths"), ["/data/cache"]);
  t.match(line(unitFile("service", { store }), "CacheDirectory"), ["airferry"]);
});

t.test("names are never lines or settings of their own", async (t) => {
  const injected = "a\nExecStartPre=/bin/evil";
  for (const options of [
    { store: `/srv/${injected}` },
    { store: "/srv/a", user: injected },
    { store: "/srv/a", user: "me -x" },
    { store: "/srv/a", url: `http://${injected}` },
    { store: "/srv/a", url: "http://a/ b" },
    { store: "/srv/a", htpasswd: `/etc/${injected}` },
    { store: "/srv/a", accessLog: `/var/log/${injected}/x` },
    { store: "/srv/a", tls: `a.crt,${injected}` },
  ]) {
    t.throws(() => unitFile("service", options), { code: "ERR_USAGE" }, JSON.stringify(options));
  }
  const unit = unitFile("service", { store: "/home/it's:a", user: "web:www-data" });
  t.strictSame(line(unit, "BindReadOnlyPaths"), [`"/home/it's:a"`]);
  t.strictSame(line(unit, "RequiresMountsFor"), [`"/home/it's:a"`]);
  t.strictSame([line(unit, "User"), line(unit, "Group")], [["web"], ["www-data"]]);
});

t.test("systemd reads the units without a complaint, and finds little to attack", async (t) => {
  if (!needs(t, "systemd-analyze")) return;
  const dir = t.testdir();
  const analyze = (...args: string[]) => promisify(execFile)(clientPath("systemd-analyze") ?? "", args);
  for (const options of [
    { store: "/srv/a b%c" },
    { store: "/home/it's:a" },
    { store: "s3://airferry/site?endpoint=https://s3.example:9000" },
    { store: "/tmp/a", listen: ":80", tls: "auto" },
  ]) {
    const service = join(dir, "airferry.service");
    const socket = join(dir, "airferry.socket");
    await writeFile(service, unitFile("service", options));
    await writeFile(socket, unitFile("socket", options));
    const { stdout, stderr } = await analyze("verify", "--man=no", service, socket);
    t.equal(stdout + stderr, "", "verify");
    await analyze("security", "--offline=yes", "--threshold=20", service);
  }
});
