/**
 * A name server for a rehearsal: known names lead to this machine, others do not exist and are noted, since a host that
 * is asked for and not there leaves no other trace. UDP only. See RFC 1035, sections 4.1 and 4.2.1.
 */
import { createSocket } from "node:dgram";
import { isIP } from "node:net";

const PORT = 53;
const HEADER_BYTES = 12;
const TYPE_A = 1;
const TYPE_AAAA = 28;
const CLASS_IN = 1;
/** Names that are noted. */
const MAX_NOTED = 1000;
const NOT_IMPLEMENTED = 4;
const NO_SUCH_NAME = 3;

interface Question {
  /** In lower case, without a dot at its end. */
  name: string;
  type: number;
  /** Where the question ends in the message. */
  end: number;
}

/** A running name server. */
interface NameServer {
  /** Names that do not exist, in the order of their first question, with the number of questions. */
  readonly unknown: ReadonlyMap<string, number>;
  close(): void;
}

/** Listens at 127.0.0.1. @throws the system's error when the port is taken or forbidden */
export async function startNameServer(known: ReadonlySet<string>, port = PORT): Promise<NameServer & { port: number }> {
  const unknown = new Map<string, number>();
  // Questions for both kinds of addresses are one.
  const countsOf = new Map([TYPE_A, TYPE_AAAA].map((type) => [type, new Map<string, number>()]));
  const socket = createSocket("udp4");
  await new Promise<void>((resolve, reject) => {
    socket.once("error", reject);
    socket.bind(port, "127.0.0.1", resolve);
  });
  socket.on("error", () => {});
  socket.on("message", (message, from) => {
    const question = questionOf(message);
    if (question === undefined) return;
    const { name } = question;
    const isKnown = known.has(name) || name === "localhost";
    // What is not about addresses names no host that is missing: apt asks for _http._tcp.HOST of every host.
    const counts = countsOf.get(question.type);
    if (!isKnown && counts !== undefined && (unknown.has(name) || unknown.size < MAX_NOTED)) {
      const count = (counts.get(name) ?? 0) + 1;
      counts.set(name, count);
      unknown.set(name, Math.max(unknown.get(name) ?? 0, count));
    }
    socket.send(answerTo(message, question, isKnown), from.port, from.address);
  });
  return { unknown, port: socket.address().port, close: () => socket.close() };
}

function questionOf(message: Buffer): Question | undefined {
  if (message.length < HEADER_BYTES + 5 || (message.readUInt16BE(2) & 0x8000) !== 0 || message.readUInt16BE(4) !== 1)
    return undefined;
  const labels: string[] = [];
  let at = HEADER_BYTES;
  for (;;) {
    const length = message[at];
    if (length === undefined || length > 63) return undefined;
    at++;
    if (length === 0) break;
    labels.push(message.subarray(at, at + length).toString("latin1"));
    at += length;
  }
  if (at + 4 > message.length) return undefined;
  const name = labels.join(".").toLowerCase();
  return { name, type: message.readUInt16BE(at), end: at + 4 };
}

function answerTo(message: Buffer, { type, end }: Question, isKnown: boolean): Buffer {
  const header = Buffer.from(message.subarray(0, HEADER_BYTES));
  const isQuery = (message.readUInt16BE(2) & 0x7800) === 0;
  const code = !isQuery ? NOT_IMPLEMENTED : isKnown ? 0 : NO_SUCH_NAME;
  const hasAddress = code === 0 && type === TYPE_A;
  // An answer, authoritative, with recursion as it was desired.
  header.writeUInt16BE(0x8480 | (message.readUInt16BE(2) & 0x7900) | code, 2);
  header.writeUInt16BE(hasAddress ? 1 : 0, 6);
  header.fill(0, 8);
  const question = message.subarray(HEADER_BYTES, end);
  if (!hasAddress) return Buffer.concat([header, question]);
  // The name is that of the question; time to live 0.
  const record = Buffer.from([0xc0, HEADER_BYTES, 0, TYPE_A, 0, CLASS_IN, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1]);
  return Buffer.concat([header, question, record]);
}

/** Whether a host needs a name server. */
export function isName(host: string): boolean {
  return isIP(host.replace(/^\[|\]$/g, "")) === 0;
}
