/** What is used of spdx-expression-parse, which has no types. */
declare module "spdx-expression-parse" {
  /** Throws for anything that is no SPDX licence expression. */
  export default function parse(expression: string): object;
}
