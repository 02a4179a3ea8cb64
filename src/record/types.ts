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
