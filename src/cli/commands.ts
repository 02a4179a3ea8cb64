/** Every command, in the order of use. */
import type { Register } from "./command.ts";
import { diffCommand } from "./commands/diff.ts";
import { doctorCommand } from "./commands/doctor.ts";
import { exportCommand } from "./commands/export.ts";
import { initCommand } from "./commands/init.ts";
import { inspectCommand } from "./commands/inspect.ts";
import { keygenCommand } from "./commands/keygen.ts";
import { lockCommand } from "./commands/lock.ts";
import { packCommand } from "./commands/pack.ts";
import { planCommand } from "./commands/plan.ts";
import { pruneCommand } from "./commands/prune.ts";
import { publishCommand } from "./commands/publish.ts";
import { renderCommand } from "./commands/render.ts";
import { schemaCommand } from "./commands/schema.ts";
import { serveCommand } from "./commands/serve.ts";
import { signCommand } from "./commands/sign.ts";
import { stageCommand } from "./commands/stage.ts";
import { statusCommand } from "./commands/status.ts";
import { unpackCommand } from "./commands/unpack.ts";
import { verifyCommand } from "./commands/verify.ts";

export const COMMANDS: readonly Register[] = [
  schemaCommand,
  initCommand,
  keygenCommand,
  lockCommand,
  planCommand,
  packCommand,
  signCommand,
  inspectCommand,
  diffCommand,
  verifyCommand,
  unpackCommand,
  statusCommand,
  pruneCommand,
  serveCommand,
  renderCommand,
  exportCommand,
  publishCommand,
  stageCommand,
  doctorCommand,
];
