/** The part of seek-bzip that is used here; the package has no types. */
declare module "seek-bzip" {
  /** Source of bytes; `read` calls `readByte`. */
  class Stream {
    readByte(): number;
  }
  const Bunzip: {
    readonly Stream: typeof Stream;
    /** Decodes one stream to its end. Throws on damage. */
    decode(input: Stream, output: { writeByte(byte: number): void }): void;
  };
  export default Bunzip;
}
