/** What the parts of the recording proxy tell each other. */

/** Where a client believes to be connected to. */
export interface UpstreamOrigin {
  scheme: "http" | "https";
  /** A name or an address, IPv6 without brackets. */
  host: string;
  port: number;
}

/** What was recorded of one host and port, and what could not be. */
export interface HostTally {
  host: string;
  answers: number;
  /** Bytes of recorded bodies. */
  bytes: number;
  /** How often, by reason. */
  missed: Record<string, number>;
}

/** A manifest, as far as a recording changes it. */
export interface RecordedManifest {
  readonly stream: string;
  /** Credentials by host, as they are written there. */
  readonly hosts: unknown;
  /** Entries below a key, as they are written there. */
  entries(key: string): Readonly<Record<string, unknown>>[];
  /**
   * Writes an entry: in place of one that `entries` gave, of which only what differs is changed, or as a new one. A
   * comment is on the line of its first key, unless a person wrote one there.
   */
  put(
    key: string,
    entry: Readonly<Record<string, unknown>>,
    options?: { before?: Readonly<Record<string, unknown>> | undefined; comment?: string | undefined },
  ): void;
  /** Adds a recording's folder, relative to the manifest, unless an entry has it, however its path is spelled. */
  addRecording(name: string, folder: string): void;
  /** Adds a git repository, unless an entry has its URL. */
  addRepository(url: string): void;
  /** @throws {AirferryError} ERR_IO, ERR_SPACE */
  write(): Promise<void>;
}
