/** Clients of a server that tells all they saw: honest, slow, aborting, mad about ranges, and silent ones. */
import { createWriteStream, readFileSync } from "node:fs";
import { get, type IncomingMessage } from "node:http";
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { type Outcome, pick, type Random } from "./kind.ts";

/** What clients ask for: a path, and the file that each release has there. */
export interface Target {
  path: string;
  files: readonly string[];
}

/** A complete answer, kept in a file, and those files of which it must be one. */
export interface Answer {
  target: Target;
  file: string;
}

const ANSWER_MS = 60_000;
/** A slow client takes so much at a time, and then rests. */
const SIP_MS = 25;

/** The answer to a request; undefined when the connection ended before it did. */
function ask(url: string, headers: Record<string, string> = {}): Promise<IncomingMessage | undefined> {
  return new Promise((resolve) => {
    const request = get(url, { headers, agent: false, timeout: ANSWER_MS }, resolve);
    request.on("timeout", () => request.destroy());
    request.on("error", () => resolve(undefined));
  });
}

/** Keeps a whole answer in a file; undefined if it is not a whole one. */
export async function download(url: string, target: Target, file: string, sips: boolean): Promise<Answer | undefined> {
  const answer = await ask(url + target.path);
  if (answer?.statusCode !== 200) return void answer?.resume();
  const out = createWriteStream(file);
  try {
    for await (const part of answer) {
      out.write(part);
      if (sips) await sleep(SIP_MS);
    }
  } catch {
    return undefined;
  } finally {
    await new Promise<void>((resolve) => out.end(resolve));
  }
  return answer.complete ? { target, file } : undefined;
}

/** Reads some of an answer, and goes away without a word, or with a reset. */
export function abort(port: number, target: Target, random: Random): Promise<void> {
  return new Promise((resolve) => {
    let left = random(200_000);
    const socket = connect(port, "127.0.0.1", () => {
      const request = `GET ${target.path} HTTP/1.1\r\nHost: torture\r\n\r\n`;
      socket.write(random(4) === 0 ? request.slice(0, random(request.length)) : request.repeat(1 + random(3)));
    });
    const leave = () => (random(2) === 0 ? socket.destroy() : socket.resetAndDestroy());
    const timer = setTimeout(leave, 500);
    socket.on("data", ({ length }) => {
      left -= length;
      if (left <= 0) leave();
    });
    socket.on("error", () => {});
    socket.on("close", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

/** Opens connections that say nothing, or half a request. Those that the server does not want are closed by it. */
export async function silent(port: number, count: number): Promise<Socket[]> {
  const all = Array.from({ length: count }, (_, index) => {
    // One address may have only so many: these come from several of the loopback's.
    const socket = connect({ port, host: "127.0.0.1", localAddress: `127.0.0.${2 + (index % 4)}` });
    socket.on("error", () => {});
    socket.once("connect", () => {
      if (index % 2 === 0) socket.write("GET /files/note.txt HTTP/1.1\r\nHo");
    });
    return socket;
  });
  await Promise.all(
    all.map((it) => new Promise<void>((resolve) => it.once("connect", () => resolve()).once("close", () => resolve()))),
  );
  return all;
}

function madRange(random: Random, size: number): string {
  const at = () => random(size + size / 4);
  return pick<() => string>(random, [
    () => `bytes=${at()}-${at()}`,
    () => `bytes=${at()}-`,
    () => `bytes=-${at()}`,
    () => "bytes=0-0,-1",
    () => `bytes=${Array.from({ length: 2 + random(200) }, () => `${at()}-${at()}`).join(",")}`,
    () => `bytes=${"0-,".repeat(1 + random(500))}0-`,
    () => "bytes=0-99999999999999999999999",
    () => pick(random, ["bytes=-0", "bytes=5-2", "bytes=a-b", "items=0-1", "bytes=", "bytes=--1", `bytes=${size}-`]),
  ])();
}

/** Asks for a range that nobody needs: each byte that comes must be of the place that the answer names. */
export async function askMadly(url: string, target: Target, random: Random): Promise<Outcome> {
  const files = target.files.map((it) => readFileSync(it));
  const range = madRange(random, files[0]?.length ?? 1);
  const answer = await ask(url + target.path, { range });
  if (answer === undefined) return { wrong: [`${range.slice(0, 60)} of ${target.path}: no answer`] };
  const parts: Buffer[] = [];
  try {
    for await (const it of answer) parts.push(it);
  } catch {
    return { wrong: [`${range.slice(0, 60)} of ${target.path}: the answer was cut`] };
  }
  const body = Buffer.concat(parts);
  if (answer.statusCode === 416) return { refused: 1 };
  const isRight = files.some((it) => isOf(answer, body, it));
  if (isRight) return {};
  return {
    corrupt: Math.max(1, body.length),
    wrong: [`${range.slice(0, 60)} of ${target.path}: ${answer.statusCode} with other bytes`],
  };
}

function isOf({ statusCode, headers }: IncomingMessage, body: Buffer, file: Buffer): boolean {
  if (statusCode === 200) return body.equals(file);
  if (statusCode !== 206) return false;
  const slice = (from: string | undefined, to: string | undefined) => file.subarray(Number(from), Number(to) + 1);
  const [, from, to] = /^bytes (\d+)-(\d+)\//.exec(headers["content-range"] ?? "") ?? [];
  if (from !== undefined) return body.equals(slice(from, to));
  const [, boundary] = /^multipart\/byteranges; *boundary="?([^"]+)"?$/.exec(headers["content-type"] ?? "") ?? [];
  if (boundary === undefined) return false;
  let at = body.indexOf(`--${boundary}\r\n`);
  while (at >= 0 && body.subarray(at, at + boundary.length + 4).toString("latin1") === `--${boundary}\r\n`) {
    const head = body.indexOf("\r\n\r\n", at);
    const [, first, last] =
      /content-range: bytes (\d+)-(\d+)\//i.exec(body.subarray(at, head).toString("latin1")) ?? [];
    const expected = slice(first, last);
    if (first === undefined || !body.subarray(head + 4, head + 4 + expected.length).equals(expected)) return false;
    at = head + 4 + expected.length + 2;
  }
  return body.subarray(at).toString("latin1").startsWith(`--${boundary}--`);
}
