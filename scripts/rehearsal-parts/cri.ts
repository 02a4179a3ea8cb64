/**
 * Asks containerd to pull an image the way kubeadm and the kubelet do: PullImage of the Container Runtime Interface, gRPC over
 * its socket. Run as a program: `cri.ts SOCKET IMAGE…`; prints each image's reference.
 */
import { connect } from "node:http2";
import { connect as connectSocket } from "node:net";

const [socketPath, ...images] = process.argv.slice(2);
const session = connect("http://containerd", { createConnection: () => connectSocket(socketPath!) });

try {
  for (const image of images) process.stdout.write(`${image} ${await pull(image)}\n`);
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = 1;
}
session.close();

/** PullImageRequest{ image: ImageSpec{ image } }; the answer's only field is the reference. */
function pull(image: string): Promise<string> {
  return new Promise((resolve, reject) => {
    session.once("error", reject);
    const stream = session.request({
      ":method": "POST",
      ":path": "/runtime.v1.ImageService/PullImage",
      "content-type": "application/grpc",
      te: "trailers",
    });
    const chunks: Buffer[] = [];
    let status: string | undefined;
    let message = "";
    const note = (headers: Record<string, unknown>) => {
      if (headers["grpc-status"] !== undefined) status = String(headers["grpc-status"]);
      if (headers["grpc-message"] !== undefined) message = decodeURIComponent(String(headers["grpc-message"]));
    };
    stream.on("response", note);
    stream.on("trailers", note);
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.on("error", reject);
    stream.on("end", () => {
      if (status !== "0") reject(new Error(`PullImage ${image}: status ${status}: ${message}`));
      else resolve(Buffer.concat(chunks).subarray(7).toString());
    });
    stream.end(frame(field(field(Buffer.from(image)))));
  });
}

/** Field 1, length-delimited. */
function field(content: Buffer): Buffer {
  const length: number[] = [];
  for (let rest = content.length; ; rest >>>= 7) {
    if (rest < 0x80) {
      length.push(rest);
      break;
    }
    length.push((rest & 0x7f) | 0x80);
  }
  return Buffer.concat([Buffer.from([0x0a, ...length]), content]);
}

function frame(message: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}
