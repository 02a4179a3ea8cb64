/** The same as rehearsal-controls.test.ts of image-builder. */
import t from "tap";
import { rehearseControls } from "../fixtures/rehearsal.ts";

t.test("exactly the rows about it fail", { timeout: 600_000 }, (t) => rehearseControls(t, "image-builder", 2));
