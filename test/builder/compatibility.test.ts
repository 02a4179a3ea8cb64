/** src/builder/compatibility.ts: what is told against what was packed, and both against the builder's matrix. */
import t from "tap";
import { checkBuilder, matrixOf, matrixRow } from "../../src/builder/compatibility.ts";

const PATHS = [
  "rpms/kubernetes/x86_64/kubelet-1.30.4-150500.1.1.x86_64.rpm",
  "rpms/kubernetes/x86_64/kubernetes-cni-1.3.0-150500.1.1.x86_64.rpm",
  "files/cri-containerd-cni-1.7.13-linux-amd64.tar.gz",
  "files/crictl-v1.28.0-linux-amd64.tar.gz",
];
const builder = (imageconfig: Record<string, string> = {}) => ({ flavor: "spectro-capi", imageconfig });
const swap = (from: RegExp, to: string) => PATHS.map((it) => it.replace(from, to));

t.test("finds nothing where everything fits, and nothing without a builder", async (t) => {
  t.strictSame(checkBuilder(builder(), PATHS, []), []);
  t.strictSame(checkBuilder(builder({ k8s_version: "1.30.4", cni_version: "1.3.0" }), PATHS, []), []);
  t.strictSame(checkBuilder(undefined, [], []), []);
});

t.test("says what to change", async (t) => {
  for (const [what, value, paths, expected] of [
    [
      "told another version",
      builder({ containerd_version: "1.6.0" }),
      PATHS,
      /^error: builder\.imageconfig\.containerd_version is 1\.6\.0, but packed is 1\.7\.13/,
    ],
    ["nothing packed", builder(), swap(/crictl.*/, "x"), /^error: crictl was not packed/],
    [
      "not in the row",
      builder(),
      swap(/crictl-v1\.28\.0/, "crictl-v1.30.0"),
      /^warning: crictl 1\.30\.0 does not match Kubernetes 1\.30\.4: the matrix lists 1\.28\.0/,
    ],
    [
      "no row",
      builder(),
      swap(/kubelet-1\.30\.4/, "kubelet-1.30.5"),
      /^warning: Kubernetes 1\.30\.5 is not in the builder's compatibility matrix/,
    ],
    ["a mistyped key", builder({ os_versions: "x" }), PATHS, /^error: unknown imageconfig key "os_versions"/],
  ] as const) {
    const [first] = checkBuilder(value, paths, []);
    t.match(`${first?.level}: ${first?.message}`, expected, what);
    t.ok(first?.remedy, what);
  }
});

t.test("the matrices name their sources, and rows are found by version or minor", async (t) => {
  for (const flavor of ["spectro-capi", "image-builder"] as const)
    t.match(matrixOf(flavor).source, /github\.com\/.* at [0-9a-f]{40}/);
  t.equal(matrixRow("image-builder", "v1.33.4")?.cni, "1.6.0");
  t.equal(matrixRow("spectro-capi", "1.30.5"), undefined);
});
