/** Name and version of the program, as `--version` prints and inventories record them. */
export const VERSION = "0.1.0-dev";
export const TOOL = `airferry ${VERSION}`;
