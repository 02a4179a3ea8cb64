/**
 * The units of `serve --print-unit`, started by a real systemd: in a container of systemd-nspawn that has this host's
 * /usr, the single file, a store, and no network but its own loopback.
 */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import t from "tap";
import { absent, clientEnv, clientPath, needs } from "../fixtures/clients.ts";
import { builtFolder, programIn } from "../fixtures/executable.ts";
import { ROOT, scratch, start } from "../fixtures/program.ts";

const ADDRESSES =
  "--listen 0.0.0.0:443 --listen-http 0.0.0.0:80 --tls auto --workers 2 --access-log /var/log/airferry/access.log";
/** What an operator types, each line with its exit status; the container switches itself off afterwards. */
const CHECKS = `set -x
cd /out
says() { echo "$1: $2"; }
/opt/airferry serve --store /srv/airferry ${ADDRESSES} --print-unit > /run/systemd/system/airferry.service
/opt/airferry serve --store /srv/airferry ${ADDRESSES} --print-unit socket > /run/systemd/system/airferry.socket
cp /run/systemd/system/airferry.* /out
systemctl daemon-reload
systemctl start airferry.service; says start $?
systemctl show airferry -p ActiveState,StatusText
ps -o user= -p $(systemctl show airferry -p MainPID --value) > user
curl -sf http://127.0.0.1/ca.crt -o ca.crt; says ca $?
curl -sf --cacert ca.crt https://localhost/files/hello.txt -o service.txt; says service $?
systemctl reload airferry; says reload $?
sleep 1
logrotate -f -s /run/rotated /out/rotate.conf; says rotate $?
sleep 1
curl -sf http://127.0.0.1/index.json > /dev/null
sleep 1
cp /var/log/airferry/access.log /out/after; cp /var/log/airferry/access.log.1 /out/before
systemctl stop airferry; says stop $?
systemctl start airferry.socket; says socket $?
curl -sf --max-time 60 --cacert ca.crt https://localhost/files/hello.txt -o socket.txt; says "by socket" $?
for i in $(seq 40); do curl -sf --max-time 20 http://127.0.0.1/healthz >> healthz; done; says "every connection" $?
systemd-analyze security airferry.service | tail -1 > security
journalctl -u airferry --no-pager > journal
`;
const CHECK_UNIT = `[Unit]
After=basic.target
Wants=basic.target
SuccessAction=poweroff
FailureAction=poweroff
[Service]
Type=oneshot
ExecStart=/bin/sh -c '/bin/sh /out/checks > /out/log 2>&1'
`;

t.test("the printed units run under systemd, hardened, by service and by socket", async (t) => {
  if (!needs(t, "systemd-nspawn", "systemd-analyze", "logrotate")) return;
  if (process.getuid?.() !== 0 || !existsSync("/usr/lib/systemd/systemd")) return absent(t, "root, or systemd,");
  const dir = scratch(t);
  const out = join(dir, "out");
  await mkdir(out);
  await chmod(dir, 0o755);
  await writeFile(join(dir, "hello.txt"), "hello from inside\n");
  await writeFile(join(dir, "a.yaml"), "apiVersion: airferry/v1\nstream: unit\nfiles: [{ path: hello.txt }]\n");
  for (const command of [
    ["keygen", "--out", "site"],
    ["pack", "a.yaml", "--key", "site.key"],
    ["unpack", "bundles/unit-000001", "--trust", "site.pub", "--store", "store"],
  ]) {
    const { status, stderr } = await start(dir, command).done;
    t.equal(status, 0, stderr);
  }
  await writeFile(join(out, "checks"), CHECKS);
  const operating = await readFile(join(ROOT, "docs", "operating.md"), "utf8");
  await writeFile(
    join(out, "rotate.conf"),
    /^\/var\/log\/airferry\/access\.log \{\n[\s\S]*?^\}\n/m.exec(operating)?.[0] ?? "",
  );
  await writeFile(join(dir, "check.service"), CHECK_UNIT);
  await promisify(execFile)(
    clientPath("systemd-nspawn") ?? "",
    [
      ...["-q", "-D", "/", "--volatile=yes", "--register=no", "--keep-unit", "--private-network", "--hostname=gap"],
      `--bind-ro=${programIn(await builtFolder())}:/opt/airferry`,
      `--bind-ro=${join(dir, "store")}:/srv/airferry`,
      `--bind=${out}:/out`,
      `--bind-ro=${join(dir, "check.service")}:/etc/systemd/system/check.service`,
      ...["--boot", "systemd.firstboot=off", "systemd.unit=check.service"],
      ...["systemd.mask=systemd-networkd.service", "systemd.mask=systemd-networkd-wait-online.service"],
    ],
    { env: clientEnv(), timeout: 180_000 },
    // The boot's messages may end with a fault of the host's own folders; the files below say what happened.
  ).catch(() => {});
  const text = (name: string) => readFile(join(out, name), "utf8").catch(() => "");
  const log = await text("log");
  for (const step of [
    "start",
    "ca",
    "service",
    "reload",
    "rotate",
    "stop",
    "socket",
    "by socket",
    "every connection",
  ]) {
    t.match(log, new RegExp(`^${step}: 0$`, "m"), step);
  }
  t.match(log, /^ActiveState=active$/m);
  t.match(log, /^StatusText=serving https:\/\//m, "the manager has the notice");
  t.not((await text("user")).trim(), "root");
  t.equal(await text("service.txt"), "hello from inside\n");
  t.equal(await text("socket.txt"), "hello from inside\n");
  t.match(await text("journal"), /reloaded certificate, key and access log/);
  t.match(await text("before"), /"path":"\/files\/hello\.txt"/);
  t.match(await text("after"), /"path":"\/index\.json/, "the server writes to the new log");
  t.notMatch(await text("after"), /hello\.txt/);
  const units = await text("airferry.socket");
  t.equal(units.match(/^ListenStream=0\.0\.0\.0:443$/gm)?.length, 2, "a socket for each thread");
  const exposure = Number(/level for airferry\.service: ([\d.]+)/.exec(await text("security"))?.[1] ?? 10);
  t.ok(exposure <= 2, `exposure ${exposure}`);
  if (!t.passing()) t.comment(log, await text("journal"));
});
