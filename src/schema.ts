/** The verb `schema`: the JSON Schema of manifests, for editors. */
export { manifestJsonSchema as schema } from "./manifest/schema.ts";
