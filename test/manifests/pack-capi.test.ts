/** The ready manifests of the builds of Cluster API: see fixtures/ready-manifest.ts. */
import t from "tap";
import { carryReady } from "../fixtures/ready-manifest.ts";

for (const name of ["rocky-8-capi", "rhel-9-capi", "rhel-8-capi"])
  t.test(name, { timeout: 240_000 }, (t) => carryReady(t, name));
