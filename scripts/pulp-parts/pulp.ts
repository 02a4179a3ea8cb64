/** A Pulp of its own on loopback: database, cache, API, content and a worker; and its API. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { closeSync, mkdirSync, openSync, readdirSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { freePort } from "../../test/fixtures/free-port.ts";

const PASSWORD = "pulp-password";
const START_MS = 120_000;
const TASK_MS = 300_000;

/** What a task of Pulp ended as. */
interface Task {
  state: string;
  error?: { description?: string } | null;
  created_resources: string[];
}

export class Pulp {
  readonly #dir: string;
  readonly #bin: string;
  readonly #children: ChildProcess[] = [];
  #env: NodeJS.ProcessEnv = {};
  #api = "";
  /** Where its content is served; no slash at the end. */
  content = "";
  /** `HOST:PORT` of its registry. */
  registry = "";

  constructor(dir: string, venv: string) {
    this.#dir = dir;
    this.#bin = join(venv, "bin");
  }

  /** Makes the database, and starts everything. */
  async start(): Promise<void> {
    for (const it of ["run", "media", "work", "upload", "static", "log"])
      mkdirSync(join(this.#dir, it), { recursive: true });
    const [redis, api, content, sql] = await Promise.all(Array.from({ length: 4 }, freePort));
    await this.#startDatabase(sql as number);
    await this.#run("redis", "redis-server", "--port", `${redis}`, "--bind", "127.0.0.1", "--save", "");
    this.content = `http://127.0.0.1:${content}/pulp/content`;
    this.#api = `http://127.0.0.1:${api}`;
    this.registry = `127.0.0.1:${api}`;
    writeFileSync(join(this.#dir, "key"), randomBytes(32).toString("base64"), { mode: 0o600 });
    const settings = {
      SECRET_KEY: randomBytes(24).toString("hex"),
      DB_ENCRYPTION_KEY: join(this.#dir, "key"),
      REDIS_URL: `redis://127.0.0.1:${redis}`,
      CONTENT_ORIGIN: `http://127.0.0.1:${content}`,
      MEDIA_ROOT: join(this.#dir, "media/"),
      WORKING_DIRECTORY: join(this.#dir, "work/"),
      FILE_UPLOAD_TEMP_DIR: join(this.#dir, "upload/"),
      STATIC_ROOT: join(this.#dir, "static/"),
    };
    const lines = Object.entries(settings).map(([name, value]) => `${name} = ${JSON.stringify(value)}`);
    const database = {
      ENGINE: "django.db.backends.postgresql",
      NAME: "pulp",
      USER: "pulp",
      HOST: join(this.#dir, "run"),
      PORT: `${sql}`,
    };
    lines.push(
      `DATABASES = {"default": ${JSON.stringify(database)}}`,
      "ANALYTICS = False",
      "TOKEN_AUTH_DISABLED = True",
    );
    writeFileSync(join(this.#dir, "settings.py"), `${lines.join("\n")}\n`);
    this.#env = { ...process.env, PULP_SETTINGS: join(this.#dir, "settings.py") };
    this.#manage("migrate", "--noinput");
    this.#manage("reset-admin-password", "--password", PASSWORD);
    await this.#run("api", join(this.#bin, "pulpcore-api"), "-b", `127.0.0.1:${api}`, "-w", "1");
    await this.#run("content", join(this.#bin, "pulpcore-content"), "-b", `127.0.0.1:${content}`, "-w", "1");
    await this.#run("worker", join(this.#bin, "pulpcore-worker"));
    const until = Date.now() + START_MS;
    for (;;) {
      const { online_workers: workers = [] } = await this.get<{ online_workers?: unknown[] }>("status/").catch(() => ({
        online_workers: [],
      }));
      if (workers.length > 0) return;
      if (Date.now() > until) throw new Error(`Pulp does not start; its logs are in ${join(this.#dir, "log")}`);
      await pause(500);
    }
  }

  async stop(): Promise<void> {
    for (const child of this.#children.reverse()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const gone = new Promise((resolve) => child.once("exit", resolve));
      // PostgreSQL ends its sessions with SIGINT; the rest takes it as well.
      child.kill("SIGINT");
      await Promise.race([gone, pause(10_000).then(() => child.kill("SIGKILL"))]);
    }
  }

  async get<T>(path: string): Promise<T> {
    return (await this.#ask("GET", path)) as T;
  }

  /** Makes something; returns its address in the API. */
  async make(path: string, value: object): Promise<string> {
    const made = (await this.#ask("POST", path, value)) as { pulp_href?: string; task?: string };
    if (made.pulp_href !== undefined) return made.pulp_href;
    const [first] = (await this.#finished(made.task)).created_resources;
    if (first === undefined) throw new Error(`${path} made nothing`);
    return first;
  }

  /** Runs a task that must succeed, such as a sync. */
  async task(path: string, value: object): Promise<Task> {
    const { task } = (await this.#ask("POST", path, value)) as { task?: string };
    return this.#finished(task);
  }

  async #finished(task: string | undefined): Promise<Task> {
    if (task === undefined) throw new Error("Pulp started no task");
    const until = Date.now() + TASK_MS;
    for (;;) {
      const it = await this.get<Task>(task);
      if (it.state === "completed") return it;
      if (["failed", "canceled", "skipped"].includes(it.state) || Date.now() > until)
        throw new Error(`the task ${it.state}: ${it.error?.description ?? ""}`);
      await pause(300);
    }
  }

  async #ask(method: string, path: string, value?: object): Promise<unknown> {
    const url = new URL(path, `${this.#api}/pulp/api/v3/`);
    const answer = await fetch(url, {
      method,
      headers: {
        Authorization: `Basic ${Buffer.from(`admin:${PASSWORD}`).toString("base64")}`,
        "Content-Type": "application/json",
      },
      ...(value !== undefined && { body: JSON.stringify(value) }),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status}: ${text.slice(0, 500)}`);
    return JSON.parse(text);
  }

  async #startDatabase(port: number): Promise<void> {
    const run = join(this.#dir, "run");
    const data = join(this.#dir, "pg");
    mkdirSync(data);
    const root = "/usr/lib/postgresql";
    const [version = ""] = readdirSync(root).sort((a, b) => Number(b) - Number(a));
    const bin = join(root, version, "bin");
    execFileSync("chown", ["postgres", data, run]);
    const asPostgres = ["-u", "postgres", "--"];
    const options = { stdio: ["ignore", "ignore", "inherit"] as ("ignore" | "inherit")[], cwd: "/" };
    execFileSync("runuser", [...asPostgres, join(bin, "initdb"), "-D", data, "-A", "trust", "-E", "UTF8"], options);
    // Nothing in it outlives the run.
    const settings = [`unix_socket_directories=${run}`, "listen_addresses=", "fsync=off", "full_page_writes=off"];
    const words = settings.flatMap((it) => ["-c", it]);
    await this.#run("sql", "runuser", ...asPostgres, join(bin, "postgres"), "-D", data, "-p", `${port}`, ...words);
    const until = Date.now() + START_MS;
    while (!(await isOpen(join(run, `.s.PGSQL.${port}`)))) {
      if (Date.now() > until) throw new Error("PostgreSQL does not start");
      await pause(200);
    }
    const statements = ["create user pulp", "create database pulp owner pulp template template0 encoding 'UTF8'"];
    for (const it of statements) {
      execFileSync("runuser", [...asPostgres, join(bin, "psql"), "-q", "-h", run, "-p", `${port}`, "-c", it], options);
    }
    for (const it of ["create extension if not exists hstore"])
      execFileSync(
        "runuser",
        [...asPostgres, join(bin, "psql"), "-q", "-h", run, "-p", `${port}`, "-c", it, "pulp"],
        options,
      );
  }

  #manage(...args: string[]): void {
    const log = openSync(join(this.#dir, "log/manager"), "a");
    try {
      execFileSync(join(this.#bin, "pulpcore-manager"), args, {
        env: this.#env,
        stdio: ["ignore", log, log],
        cwd: this.#dir,
      });
    } finally {
      closeSync(log);
    }
  }

  async #run(name: string, program: string, ...args: string[]): Promise<void> {
    const log = openSync(join(this.#dir, "log", name), "a");
    const child = spawn(program, args, {
      env: this.#env.PULP_SETTINGS === undefined ? process.env : this.#env,
      stdio: ["ignore", log, log],
      cwd: "/",
    });
    closeSync(log);
    this.#children.push(child);
    await new Promise<void>((resolve, reject) => {
      child.once("spawn", () => resolve());
      child.once("error", reject);
    });
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function isOpen(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(socket, () => {
      probe.destroy();
      resolve(true);
    });
    probe.on("error", () => resolve(false));
  });
}
