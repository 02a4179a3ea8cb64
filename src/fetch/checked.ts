/**
 * Bytes that are right, from whichever mirror has them: what only the whole of a body shows (its digest) is held against the
 * mirror that sent it and no other. docs/fetch.md, "Mirrors".
 */
import { AirferryError, EXIT, exitStatusOf } from "../errors.ts";
import { httpStatusOf } from "../http/failure.ts";
import { redactUrl } from "../io/redact.ts";
import type { Fetcher, FetchSink, FetchTarget, HeadResult } from "./types.ts";

interface CheckedOptions {
  /** Looks at the whole in the sink; what it returns is why these bytes are wrong. `from`: as it may be shown. */
  check(from: string): Promise<AirferryError | undefined>;
  /** Told before the sink starts over. */
  onAgain?: ((next: readonly string[]) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * Fetches into the sink until `check` is content; a sink that is full already is only checked. Bytes of several answers that do
 * not add up are asked for once more, from one mirror at a time; a mirror whose own bytes are wrong is out, the others go on.
 * @returns what the last answer said; undefined when the sink was full
 * @throws {AirferryError} the fault of the only mirror, or the first one with those of the others as its problems
 */
export async function fetchChecked(
  fetcher: Pick<Fetcher, "fetchInto">,
  target: FetchTarget,
  sink: FetchSink,
  options: CheckedOptions,
): Promise<HeadResult | undefined> {
  const failed: AirferryError[] = [];
  let responses = sink.position > 0 ? 1 : 0;
  const counting = countingSink(sink, () => responses++);
  let left = target.urls;
  let unmixed = false;
  for (;;) {
    let head: HeadResult | undefined;
    if (target.size === undefined || sink.position < target.size || target.size === 0) {
      try {
        head = await fetcher.fetchInto(
          { ...target, urls: left, ...(unmixed && { unmixed }) },
          counting,
          options.signal,
        );
      } catch (error) {
        if (!(error instanceof AirferryError) || exitStatusOf(error) !== EXIT.upstream) throw error;
        failed.push(error);
        break;
      }
    }
    // Bytes of an earlier run may be of any of them.
    const isPieced: boolean = !unmixed && (responses > 1 || head === undefined);
    const from = head?.url ?? left[0] ?? "";
    const fault = await options.check(redactUrl(from));
    if (fault === undefined) return head;
    if (!isPieced) {
      failed.push(fault);
      left = left.filter((it) => it !== from);
    }
    unmixed ||= isPieced;
    if (left.length === 0) break;
    options.onAgain?.(left);
    await sink.restart();
    responses = 0;
  }
  throw summaryOf(failed);
}

/** The same sink; tells of every answer whose bytes come in. */
function countingSink(sink: FetchSink, onResponse: () => void): FetchSink {
  return {
    get position() {
      return sink.position;
    },
    get validator() {
      return sink.validator;
    },
    ...(sink.lend && { lend: () => (sink.lend as () => Promise<Uint8Array>)() }),
    write: (chunk) => sink.write(chunk),
    restart: () => sink.restart(),
    began(response) {
      onResponse();
      sink.began?.(response);
    },
  };
}

/** One error for all that failed, which may be summaries themselves. What may pass outweighs what will not, as among mirrors. */
function summaryOf(failed: readonly AirferryError[]): AirferryError {
  const first = failed.find(mayPass) ?? (failed[0] as AirferryError);
  if (failed.length === 1) return first;
  const problems = failed.flatMap((it) =>
    it.problems.length > 0 ? it.problems : [{ code: it.code, path: it.path ?? "", message: it.message }],
  );
  const { code, message, hint, path, expected, actual, cause } = first;
  const others = problems.length - 1;
  return new AirferryError(code, `${message} (and ${others} other ${others === 1 ? "mirror" : "mirrors"} failed)`, {
    hint,
    path,
    expected,
    actual,
    cause,
    problems,
  });
}

function mayPass(error: AirferryError): boolean {
  const status = httpStatusOf(error) ?? 0;
  return error.code === "ERR_UPSTREAM" && (status < 400 || status >= 500 || status === 408 || status === 429);
}
