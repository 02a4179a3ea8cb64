declare module "seek-bzip" {
  /** What is used of it. */
  interface Bunzip {
    decode(
      input: { readByte(): number; read(buffer: Uint8Array, offset: number, length: number): number; eof(): boolean },
      output: { writeByte(byte: number): void },
      multistream: boolean,
    ): void;
  }
  const bunzip: Bunzip;
  export default bunzip;
}
