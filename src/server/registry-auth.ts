/**
 * Optional basic authentication of the registry: an htpasswd file with bcrypt, as `htpasswd -B` writes it. See RFC 7617.
 */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { compare, hashSync } from "bcryptjs";
import { AirferryError } from "../errors.ts";

const BCRYPT = /^\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}$/;
/** Good logins are remembered by digest, since bcrypt is slow on purpose and clients send theirs with every request. */
const MAX_REMEMBERED = 1000;

/** Users of the registry and the digests of their passwords. */
export class Htpasswd {
  readonly #users: ReadonlyMap<string, string>;
  readonly #good = new Set<string>();
  /** Compared with for unknown users, so that they take as long. */
  readonly #nobody = hashSync("", 10);

  constructor(users: ReadonlyMap<string, string>) {
    this.#users = users;
  }

  /**
   * Parses `user:bcrypt` lines; empty lines and comments are passed over.
   * @throws {AirferryError} ERR_USAGE for other kinds of digests, and where there is no user at all
   */
  static parse(text: string, file: string): Htpasswd {
    const users = new Map<string, string>();
    for (const [index, raw] of text.split(/\r?\n/).entries()) {
      const line = raw.trim();
      if (line === "" || line.startsWith("#")) continue;
      const colon = line.indexOf(":");
      const digest = line.slice(colon + 1);
      if (colon < 1 || !BCRYPT.test(digest)) {
        throw new AirferryError(
          "ERR_USAGE",
          `cannot read passwords from "${file}": line ${index + 1} is not user:bcrypt`,
          {
            path: file,
            hint: `write it with: htpasswd -B ${file} USER`,
          },
        );
      }
      users.set(line.slice(0, colon), digest);
    }
    if (users.size === 0) {
      throw new AirferryError("ERR_USAGE", `cannot read passwords from "${file}": there is no user in it`, {
        path: file,
        hint: `add one with: htpasswd -B ${file} USER`,
      });
    }
    return new Htpasswd(users);
  }

  /** Reads an htpasswd file. @throws {AirferryError} ERR_USAGE, ERR_NOT_FOUND */
  static async read(file: string): Promise<Htpasswd> {
    const text = await readFile(file, "utf8").catch((cause: NodeJS.ErrnoException) => {
      throw new AirferryError("ERR_NOT_FOUND", `cannot read passwords from "${file}": ${cause.code ?? cause.message}`, {
        path: file,
        cause,
        hint: `make it with: htpasswd -Bc ${file} USER`,
      });
    });
    return Htpasswd.parse(text, file);
  }

  /** Tells whether an Authorization header is that of a user. */
  async admits(authorization: string | undefined): Promise<boolean> {
    const encoded = /^basic +([A-Za-z0-9+/=_-]+)$/i.exec(authorization ?? "")?.[1];
    if (encoded === undefined) return false;
    const text = Buffer.from(encoded, "base64").toString("utf8");
    const colon = text.indexOf(":");
    if (colon < 0) return false;
    const name = createHash("sha256").update(text).digest("hex");
    if (this.#good.has(name)) return true;
    const user = text.slice(0, colon);
    const digest = this.#users.get(user);
    const same = await compare(text.slice(colon + 1), digest ?? this.#nobody);
    if (!same || digest === undefined) return false;
    if (this.#good.size >= MAX_REMEMBERED) this.#good.clear();
    this.#good.add(name);
    return true;
  }
}
