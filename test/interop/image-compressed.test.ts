/** Archives as skopeo writes them and zstd and gzip compress them: packed as they are, carried, exported, loaded by podman and run by it. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { absent, needs } from "../fixtures/clients.ts";
import { imageGap } from "../fixtures/image-carry.ts";
import { staticBusybox, TestImages } from "../fixtures/images.ts";

const busybox = staticBusybox();
const LIMITS = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];

t.test("compressed docker-archive and OCI archive, from skopeo to podman", async (t) => {
  if (!needs(t, "skopeo", "podman", "runc", "zstd", "xz")) return;
  if (busybox === undefined) return absent(t, "busybox-static");
  const gap = await imageGap(t, "airferry-compressed");
  const images = new TestImages();
  const layout = join(gap.dir, "layout");
  mkdirSync(layout);
  const image = images.image("linux/amd64", [{ "bin/busybox": busybox }, { "etc/motd": "inside\n" }]);
  images.writeLayout(layout, { "1.0": image });
  const run = async (name: string, ...args: string[]) => {
    const { status, out } = await gap.run(name, ...args);
    t.equal(status, 0, `${name} ${args[0]}: ${out}`);
    return out;
  };
  await run("skopeo", "copy", "-q", `oci:${layout}:1.0`, `docker-archive:${gap.dir}/d.tar:vendor.example/d:1.0`);
  await run("skopeo", "copy", "-q", `oci:${layout}:1.0`, `oci-archive:${gap.dir}/o.tar:vendor.example/o:1.0`);
  // As RKE2 compresses its images.
  await run("zstd", "-q", "--rm", "-T0", "-16", "--long=25", join(gap.dir, "d.tar"));
  await run("gzip", join(gap.dir, "o.tar"));
  await run("skopeo", "copy", "-q", `oci:${layout}:1.0`, `docker-archive:${gap.dir}/x.tar:vendor.example/x:1.0`);
  await run("xz", "-T2", join(gap.dir, "x.tar"));
  await gap.carry({ images: [{ archive: "d.tar.zst" }, { archive: "o.tar.gz" }, { archive: "x.tar.xz" }] });
  const storage = ["--storage-driver", "vfs", "--root", `${gap.dir}/s`, "--runroot", `${gap.dir}/r`];
  const podman = [...storage, "--cgroup-manager", "cgroupfs", "--runtime", "runc"];
  for (const name of ["vendor.example/d:1.0", "vendor.example/o:1.0", "vendor.example/x:1.0"]) {
    const file = join(gap.dir, `${name.replaceAll(/[/:]/g, "-")}.tar`);
    const exported = await gap.airferry("export", "image", name, "--store", "store", "--out", file);
    t.equal(exported.status, 0, exported.stderr);
    t.match(await run("podman", ...podman, "load", "-i", file), name);
    const motd = await run("podman", ...podman, "run", "--rm", ...LIMITS, "--network=none", name, "cat", "/etc/motd");
    t.match(motd, /inside/, `${name} runs`);
  }
  const kept = await run(
    "podman",
    ...podman,
    "image",
    "inspect",
    "--format",
    "{{.RepoDigests}}",
    "vendor.example/o:1.0",
  );
  t.match(kept, image.digest, "the OCI archive's digest is kept");
});
