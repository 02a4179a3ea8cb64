/** What all readers of repository metadata say of it when it is malformed. */
import { AirferryError } from "../errors.ts";

/** The error for repository metadata that is not what it should be. */
export function invalidXml(name: string, fault: string): AirferryError {
  return new AirferryError("ERR_UPSTREAM_INVALID", `cannot read "${name}": malformed metadata: ${fault}`, {
    path: name,
    hint: "upstream's metadata is damaged; try another mirror, or tell upstream",
  });
}
