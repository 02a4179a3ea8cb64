/**
 * Optional basic authentication of the registry: an htpasswd file with bcrypt, as `htpasswd -B` writes it. See RFC
 * 7617.
 */
import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { compare } from "bcryptjs";
import { AirferryError } from "../../errors.ts";
import { systemFault } from "../../io/atomic.ts";
import { exposed, exposureOf } from "../../io/exposed.ts";
import { readNamed } from "../../io/named-file.ts";
import { shellWord } from "../../io/shell.ts";
import type { Mount } from "../http/context.ts";
import { sendError } from "./registry-responses.ts";

/** htpasswd's maximum: some seconds. */
const MAX_COST = 17;
/** Fifteen thousand users. */
const MAX_HTPASSWD_BYTES = 1024 * 1024;
const BCRYPT = /^\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}$/;
/** Logins are remembered by digest, since bcrypt is slow on purpose and clients send theirs with every request. */
const MAX_REMEMBERED = 1000;
/** bcrypt blocks this thread: new logins are checked one by one, with time for other work between. */
const PAUSE_MS = 100;
const MAX_WAITING = 50;
const LOOK_AGAIN_MS = 1000;

function costOf(digest: string): number {
  return Number(BCRYPT.exec(digest)?.[1]);
}

/** A digest of the given cost that matches no password. */
function decoyDigest(cost: number): string {
  return `$2b$${String(cost).padStart(2, "0")}$${"N".repeat(21)}u${"N".repeat(30)}u`;
}

/** Users of the registry and the digests of their passwords. */
export class Htpasswd {
  readonly #users: ReadonlyMap<string, string>;
  /** Known results of logins, by digest. */
  readonly #known = new Map<string, boolean>();
  #last: Promise<unknown> = Promise.resolve();
  #waiting = 0;
  /** The highest cost in the file: every check takes that long, whichever user is checked. */
  readonly #cost: number;

  constructor(users: ReadonlyMap<string, string>) {
    this.#users = users;
    this.#cost = Math.max(...[...users.values()].map(costOf));
  }

  /**
   * Parses `user:bcrypt` lines; empty lines and comments are ignored.
   * @throws {AirferryError} ERR_USAGE for other kinds of digests, and without any user
   */
  static parse(text: string, file: string): Htpasswd {
    const users = new Map<string, string>();
    if (text.length > MAX_HTPASSWD_BYTES) {
      throw new AirferryError(
        "ERR_USAGE",
        `cannot read passwords from "${file}": too large: expected at most ${MAX_HTPASSWD_BYTES} bytes, got ${text.length}`,
        { path: file, hint: `create it again with: htpasswd -Bc ${shellWord(file)} USER` },
      );
    }
    for (const [index, raw] of text.split(/\r?\n/).entries()) {
      const line = raw.trim();
      if (line === "" || line.startsWith("#")) continue;
      const colon = line.indexOf(":");
      const digest = line.slice(colon + 1);
      if (colon < 1 || !BCRYPT.test(digest) || costOf(digest) < 4 || costOf(digest) > MAX_COST) {
        throw new AirferryError(
          "ERR_USAGE",
          `cannot read passwords from "${file}": line ${index + 1} is not user:bcrypt`,
          {
            path: file,
            hint: `write it with: htpasswd -B ${shellWord(file)} USER`,
          },
        );
      }
      users.set(line.slice(0, colon), digest);
    }
    if (users.size === 0) {
      throw new AirferryError("ERR_USAGE", `cannot read passwords from "${file}": it has no user`, {
        path: file,
        hint: `add one with: htpasswd -B ${shellWord(file)} USER`,
      });
    }
    return new Htpasswd(users);
  }

  /**
   * Reads an htpasswd file. @throws {AirferryError} ERR_USAGE, ERR_NOT_FOUND; ERR_KEY_EXPOSED when others can change it
   */
  static async read(file: string): Promise<Htpasswd> {
    // Digests may be readable; htpasswd itself writes the file like that.
    if ((await exposureOf(file)) === "change") throw exposed(file, "the passwords", "change");
    const bytes = await readNamed(file).catch((cause: NodeJS.ErrnoException) => {
      throw new AirferryError("ERR_NOT_FOUND", `cannot read passwords from "${file}": ${systemFault(cause)}`, {
        path: file,
        cause,
        hint: `make it with: htpasswd -Bc ${shellWord(file)} USER`,
      });
    });
    return Htpasswd.parse(bytes.toString("utf8"), file);
  }

  /** Returns whether an Authorization header belongs to a user; `busy` when too many new ones are being checked. */
  async admits(authorization: string | undefined): Promise<boolean | "busy"> {
    const encoded = /^basic +([A-Za-z0-9+/=_-]+)$/i.exec(authorization ?? "")?.[1];
    if (encoded === undefined) return false;
    const text = Buffer.from(encoded, "base64").toString("utf8");
    // An empty password is never valid, even if a script hashed an unset variable.
    if (!/:./s.test(text)) return false;
    const name = createHash("sha256").update(text).digest("hex");
    const known = this.#known.get(name);
    if (known !== undefined) return known;
    if (this.#waiting >= MAX_WAITING) return "busy";
    this.#waiting++;
    const looking = this.#last.then(async () => this.#known.get(name) ?? (await this.#look(text, name)));
    this.#last = looking.catch(() => {}).then(() => sleep(PAUSE_MS, undefined, { ref: false }));
    return looking.finally(() => this.#waiting--);
  }

  async #look(text: string, name: string): Promise<boolean> {
    const colon = text.indexOf(":");
    const password = text.slice(colon + 1);
    const digest = this.#users.get(text.slice(0, colon));
    const isGood = digest !== undefined && (await compare(password, digest));
    // Work doubles with each step of cost, so running the costs from the user's up to the highest adds the difference;
    // for an unknown user the highest alone is run.
    const from = digest === undefined ? this.#cost : costOf(digest);
    const to = digest === undefined ? this.#cost + 1 : this.#cost;
    for (let cost = from; cost < to; cost++) await compare(password, decoyDigest(cost));
    if (this.#known.size >= MAX_REMEMBERED) this.#known.clear();
    this.#known.set(name, isGood);
    return isGood;
  }
}

/** The users of a file that may change while the server runs. */
export class HtpasswdFile {
  readonly #file: string;
  readonly #onFault: (error: unknown) => void;
  #users: Htpasswd;
  /** The file's state when the users were read. */
  #stamp: string;
  /** Its state when it was last reported as broken. */
  #toldStamp: string | undefined;
  #lookedAt = performance.now();
  #looking: Promise<Htpasswd> | undefined;

  private constructor(file: string, onFault: (error: unknown) => void, users: Htpasswd, stamp: string) {
    this.#file = file;
    this.#onFault = onFault;
    this.#users = users;
    this.#stamp = stamp;
  }

  /**
   * Reads the file for the first time.
   * @param onFault called once each time the file is found broken or missing; the last good users stay valid
   * @throws {AirferryError} as {@link Htpasswd.read}
   */
  static async open(file: string, onFault: (error: unknown) => void): Promise<HtpasswdFile> {
    const stamp = await stampOf(file);
    return new HtpasswdFile(file, onFault, await Htpasswd.read(file), stamp);
  }

  /** The users as of at most a second ago. New users start without cached logins. */
  async users(): Promise<Htpasswd> {
    if (performance.now() - this.#lookedAt < LOOK_AGAIN_MS) return this.#users;
    this.#looking ??= this.#look();
    return this.#looking;
  }

  async #look(): Promise<Htpasswd> {
    // Taken before reading: a concurrent change is detected the next time.
    const stamp = await stampOf(this.#file);
    try {
      if (stamp !== this.#stamp) this.#users = await Htpasswd.read(this.#file);
      this.#stamp = stamp;
      this.#toldStamp = undefined;
    } catch (error) {
      if (stamp !== this.#toldStamp) this.#onFault(error);
      this.#toldStamp = stamp;
    }
    this.#lookedAt = performance.now();
    this.#looking = undefined;
    return this.#users;
  }
}

/** Differs when a file was changed, replaced or removed. */
async function stampOf(file: string): Promise<string> {
  const stats = await stat(file).catch(() => undefined);
  return stats === undefined ? "" : [stats.ino, stats.size, stats.mtimeMs, stats.ctimeMs].join(" ");
}

/** The same handler, only for users of an htpasswd file. */
export function withLogin(mount: Mount, htpasswd: HtpasswdFile): Mount {
  // Only what passes this handler is asked for a login.
  const { entry: _, ...rest } = mount;
  return {
    ...rest,
    async handle(request, context) {
      const users = await htpasswd.users();
      const admitted = await users.admits(request.req.headers.authorization);
      // The refusal too is not everybody's.
      request.isGuarded = true;
      if (admitted === true) return mount.handle(request, context);
      if (admitted === "busy") {
        sendError(request, 429, "TOOMANYREQUESTS", "too many logins at once; try again", { "Retry-After": "2" });
        return true;
      }
      sendError(request, 401, "UNAUTHORIZED", "a login is needed: docker login, podman login", {
        "WWW-Authenticate": 'Basic realm="airferry", charset="UTF-8"',
      });
      return true;
    },
  };
}
