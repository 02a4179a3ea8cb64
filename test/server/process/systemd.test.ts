/** src/server/process/systemd.ts: sockets that were handed over, and the notice that the service is ready. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import t from "tap";
import { inheritedSockets, readyNotice } from "../../../src/server/process/systemd.ts";
import { needs } from "../../fixtures/clients.ts";
import { scratch } from "../../fixtures/program.ts";

t.test("takes only what is meant for this process, and leaves nothing for its children", async (t) => {
  const env = { LISTEN_PID: "7", LISTEN_FDS: "2", LISTEN_FDNAMES: "a:b", PATH: "/bin" };
  t.strictSame(inheritedSockets(env, 7), [3, 4]);
  t.strictSame(env as object, { PATH: "/bin" });
  t.strictSame(inheritedSockets({ LISTEN_PID: "7", LISTEN_FDS: "2" }, 8), []);
  t.strictSame(inheritedSockets({ LISTEN_PID: "7", LISTEN_FDS: "-1" }, 7), []);
  t.strictSame(inheritedSockets({}, 7), []);
});

t.test("tells the manager by its socket", async (t) => {
  if (!needs(t, "systemd-notify", "python3")) return;
  // The path of such a socket has at most 107 bytes.
  const path = join(scratch(t, "af"), "notify");
  const manager = spawn("python3", [
    "-c",
    "import socket,sys\ns=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM)\ns.bind(sys.argv[1])\nprint('up',flush=True)\nprint(s.recv(4096).decode(),flush=True)\ns.recv(4096)",
    path,
  ]);
  t.teardown(() => manager.kill());
  let heard = "";
  manager.stdout.on("data", (data) => {
    heard += data;
  });
  await once(manager.stdout, "data");
  const env: NodeJS.ProcessEnv = { NOTIFY_SOCKET: path };
  const ready = readyNotice(env);
  t.strictSame(env, {});
  // systemd-notify waits until the manager has closed what it sends behind the notice: this one does by ending.
  await Promise.all([ready?.("serving here"), once(manager, "exit")]);
  t.match(heard, /READY=1/);
  t.match(heard, /STATUS=serving here/);
});

t.test("without a manager there is nothing to tell", async (t) => {
  t.equal(readyNotice({}), undefined);
  t.equal(readyNotice({ NOTIFY_SOCKET: "" }), undefined);
});
