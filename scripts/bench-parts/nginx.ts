/** nginx as the upstream of benchmarks. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";

/** nginx with sendfile on a free port of loopback, serving DIR/www, below /gigabit/ at 125 MB/s. The caller stops it. */
export async function startNginx(dir: string): Promise<{ url: string; stop(): Promise<unknown> }> {
  mkdirSync(`${dir}/www`, { recursive: true });
  const port = 20000 + Math.floor(Math.random() * 20000);
  writeFileSync(
    `${dir}/nginx.conf`,
    `worker_processes 1; daemon off; pid ${dir}/nginx.pid; error_log ${dir}/nginx.err;\n${process.getuid?.() === 0 ? "user root;" : ""}\nevents {}\nhttp { access_log off; sendfile on; keepalive_requests 100000; server { listen 127.0.0.1:${port}; root ${dir}/www; location /gigabit/ { alias ${dir}/www/; limit_rate 125000000; } } }\n`,
  );
  const child = spawn("nginx", ["-p", dir, "-c", `${dir}/nginx.conf`], { stdio: "ignore" });
  const url = `http://127.0.0.1:${port}`;
  for (let tries = 0; tries < 50; tries++) {
    if (spawnSync("curl", ["-s", "-o", "/dev/null", url]).status === 0) break;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return {
    url,
    stop() {
      child.kill("SIGTERM");
      return once(child, "exit");
    },
  };
}
