/** The error that all readers of repository metadata throw when it is malformed. */
import { AirferryError } from "../errors.ts";

/** The error for malformed repository metadata. */
export function invalidXml(name: string, fault: string): AirferryError {
  return new AirferryError("ERR_UPSTREAM_INVALID", `cannot read "${name}": malformed metadata: ${fault}`, {
    path: name,
    hint: "upstream's metadata is damaged; try another mirror, or report it upstream",
  });
}
