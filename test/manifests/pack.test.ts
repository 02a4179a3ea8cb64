/** The ready manifests beside those of Cluster API: see fixtures/ready-manifest.ts. */
import t from "tap";
import { carryReady } from "../fixtures/ready-manifest.ts";

for (const name of ["image-builder", "starter"]) t.test(name, { timeout: 240_000 }, (t) => carryReady(t, name));
