/** scripts/rehearsal --controls: its rows notice when what they are about is removed, and only they do. Of the CAPI builder. */
import t from "tap";
import { rehearseControls } from "../fixtures/rehearsal.ts";

t.test("exactly the rows about it fail", { timeout: 600_000 }, (t) => rehearseControls(t, "spectro-capi", 3));
