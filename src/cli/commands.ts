/** Every command, in the order of use. Each is loaded when it is called; all of them for help. */
import type { Register } from "./command.ts";

const COMMANDS = {
  schema: async () => (await import("./commands/schema.ts")).schemaCommand,
  init: async () => (await import("./commands/init.ts")).initCommand,
  record: async () => (await import("./commands/record.ts")).recordCommand,
  keygen: async () => (await import("./commands/keygen.ts")).keygenCommand,
  check: async () => (await import("./commands/check.ts")).checkCommand,
  lock: async () => (await import("./commands/lock.ts")).lockCommand,
  plan: async () => (await import("./commands/plan.ts")).planCommand,
  pack: async () => (await import("./commands/pack.ts")).packCommand,
  sign: async () => (await import("./commands/sign.ts")).signCommand,
  attest: async () => (await import("./commands/attest.ts")).attestCommand,
  trust: async () => (await import("./commands/trust.ts")).trustCommand,
  inspect: async () => (await import("./commands/inspect.ts")).inspectCommand,
  diff: async () => (await import("./commands/diff.ts")).diffCommand,
  verify: async () => (await import("./commands/verify.ts")).verifyCommand,
  repair: async () => (await import("./commands/repair.ts")).repairCommand,
  rehearse: async () => (await import("./commands/rehearse.ts")).rehearseCommand,
  unpack: async () => (await import("./commands/unpack.ts")).unpackCommand,
  status: async () => (await import("./commands/status.ts")).statusCommand,
  rollback: async () => (await import("./commands/rollback.ts")).rollbackCommand,
  fsck: async () => (await import("./commands/fsck.ts")).fsckCommand,
  receipt: async () => (await import("./commands/receipt.ts")).receiptCommand,
  journal: async () => (await import("./commands/journal.ts")).journalCommand,
  prune: async () => (await import("./commands/prune.ts")).pruneCommand,
  serve: async () => (await import("./commands/serve.ts")).serveCommand,
  wanted: async () => (await import("./commands/wanted.ts")).wantedCommand,
  render: async () => (await import("./commands/render.ts")).renderCommand,
  export: async () => (await import("./commands/export.ts")).exportCommand,
  publish: async () => (await import("./commands/publish.ts")).publishCommand,
  stage: async () => (await import("./commands/stage.ts")).stageCommand,
  doctor: async () => (await import("./commands/doctor.ts")).doctorCommand,
  completion: async () => (await import("./commands/completion.ts")).completionCommand,
  complete: async () => (await import("./commands/complete.ts")).completeCommand,
} satisfies Record<string, () => Promise<Register>>;

/** Loads the command that the first argument names; without one all of them, for help, suggestions and completion. */
export function loadCommands(first?: string): Promise<Register[]> {
  if (first === "--version" || first === "-V") return Promise.resolve([]);
  const isNamed = first !== undefined && first !== "completion" && Object.hasOwn(COMMANDS, first);
  const loaders = isNamed ? [COMMANDS[first as keyof typeof COMMANDS]] : Object.values(COMMANDS);
  return Promise.all(loaders.map((load) => load()));
}
