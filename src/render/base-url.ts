/** The address that clients use for the server, as given to `render`, `stage` and `doctor`. */
import { AirferryError } from "../errors.ts";

/** Returns the base URL without trailing slash. @throws {AirferryError} ERR_USAGE when it is not one */
export function checkBaseUrl(text: string): string {
  let url: URL | undefined;
  try {
    url = new URL(text);
  } catch {
    // It is refused below.
  }
  if (
    url === undefined ||
    !/^https?:$/.test(url.protocol) ||
    url.search !== "" ||
    url.hash !== "" ||
    url.username !== ""
  ) {
    throw new AirferryError("ERR_USAGE", `cannot use "${text}" as a base URL`, {
      expected: "http://HOST:PORT or https://HOST:PORT",
      actual: text,
      hint: "give the address that serve prints: --url http://192.0.2.10:9000",
    });
  }
  return text.replace(/\/+$/, "");
}
