/** What openpgp takes although its types do not say so. test/sign/ pins both. */
import type { Config } from "openpgp";

declare module "openpgp" {
  interface SignaturePacket {
    /** Reads the packet's body. @throws {Error} what is wrong with it, where the configuration does not let it pass */
    read(bytes: Uint8Array, config: Config): void;
  }
  interface Subkey {
    /** With null for the date: whatever bindings there are count, whenever they were made. */
    getExpirationTime(date: null, config: Config): Promise<Date | typeof Infinity | null>;
  }
}
