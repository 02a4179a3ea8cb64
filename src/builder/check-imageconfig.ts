/** Checks the values of `builder.imageconfig` against the builder's reference. Pure. */
import { environmentName, imageconfigKey, nearestKey } from "./imageconfig-keys.ts";

/** One fault of `builder.imageconfig`. */
interface ImageconfigFault {
  key: string;
  message: string;
  remedy: string;
}

/** Checks the values of a manifest's `builder.imageconfig`: unknown keys, values outside their list, secrets. */
export function checkImageconfig(values: Readonly<Record<string, string>>): ImageconfigFault[] {
  const faults: ImageconfigFault[] = [];
  for (const [key, value] of Object.entries(values)) {
    const known = imageconfigKey(key);
    if (known === undefined) {
      const near = nearestKey(key);
      faults.push({
        key,
        message: `unknown imageconfig key ${JSON.stringify(key)}`,
        remedy: near === undefined ? "remove it from builder.imageconfig" : `write ${near}`,
      });
    } else if (known.origin === "secret" && value !== "") {
      faults.push({
        key,
        message: `${key} is a secret, and everybody who carries a bundle can read it`,
        remedy: `remove it from the manifest; inside the gap set ${environmentName(key)} for airferry render`,
      });
    } else if (known.values !== undefined && value !== "" && !known.values.includes(value)) {
      faults.push({
        key,
        message: `${key} is ${JSON.stringify(value)}`,
        remedy: `use one of ${known.values.join(", ")}`,
      });
    } else if (/[\0\r\n]/.test(value)) {
      faults.push({ key, message: `${key} holds a line break or NUL`, remedy: "write it on one line" });
    }
  }
  return faults;
}
