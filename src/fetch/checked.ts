/**
 * Fetches correct bytes from whichever mirror has them: a fault that only a whole body shows (its digest) counts
 * against the mirror that sent it and no other. docs/fetch.md, "Mirrors".
 */
import { AirferryError, EXIT, exitStatusOf } from "../errors.ts";
import { httpStatusOf } from "../http/failure.ts";
import { redactUrl } from "../io/redact.ts";
import { withOtherMirrors } from "./faults.ts";
import type { Fetcher, FetchSink, FetchTarget, HeadResult } from "./types.ts";

interface CheckedOptions {
  /** Checks the whole content of the sink; returns why these bytes are wrong. `from`: safe to show. */
  check(from: string): Promise<AirferryError | undefined>;
  /** Called before the sink restarts. */
  onAgain?: ((next: readonly string[]) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * Fetches into the sink until `check` succeeds; a sink that is already full is only checked. Bytes of several responses
 * that do not match are requested once more, from one mirror at a time; a mirror whose own bytes are wrong is excluded,
 * the others continue.
 * @returns the last response's metadata; undefined when the sink was full
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
    // Bytes of an earlier run may be from any of them.
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

/** The same sink; reports every response whose bytes arrive. */
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

/**
 * One error for all failures, which may be summaries themselves. A temporary failure outweighs a permanent one, as
 * among mirrors.
 */
function summaryOf(failed: readonly AirferryError[]): AirferryError {
  const first = failed.find(mayPass) ?? (failed[0] as AirferryError);
  if (failed.length === 1) return first;
  const problems = failed.flatMap((it) =>
    it.problems.length > 0 ? it.problems : [{ code: it.code, path: it.path ?? "", message: it.message }],
  );
  return withOtherMirrors(first, problems);
}

function mayPass(error: AirferryError): boolean {
  const status = httpStatusOf(error) ?? 0;
  return error.code === "ERR_UPSTREAM" && (status < 400 || status >= 500 || status === 408 || status === 429);
}
