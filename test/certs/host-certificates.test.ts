/** Certificates by host, made on demand: a real handshake under each name. */
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { connect, createServer, type TLSSocket } from "node:tls";
import t from "tap";
import { createCa } from "../../src/certs/certificates.ts";
import { HostCertificates } from "../../src/certs/host-certificates.ts";

t.test("a server is each host that its client names, and nobody trusts it without the CA", async (t) => {
  const ca = await createCa("test", 3);
  const hosts = new HostCertificates(ca);
  const server = createServer({
    SNICallback: (name, done) =>
      hosts.contextOf(name).then(
        (context) => done(null, context),
        (error) => done(error),
      ),
  });
  server.on("tlsClientError", () => {});
  await once(server.listen(0, "127.0.0.1"), "listening");
  t.teardown(() => server.close());
  const { port } = server.address() as AddressInfo;
  const seen = async (servername: string, options: object) => {
    const socket: TLSSocket = connect({ host: "127.0.0.1", port, servername, ...options });
    await once(socket, "secureConnect");
    const certificate = socket.getPeerX509Certificate() as X509Certificate;
    socket.destroy();
    return certificate;
  };
  const one = await seen("one.example.com", { ca: ca.cert });
  t.equal(one.subjectAltName, "DNS:one.example.com");
  t.equal((await seen("ONE.example.com", { ca: ca.cert })).serialNumber, one.serialNumber, "made once");
  t.not((await seen("two.example.com", { ca: ca.cert })).serialNumber, one.serialNumber);
  await t.rejects(seen("one.example.com", {}), { code: /UNABLE_TO|SELF_SIGNED|UNABLE/ });
  const days = (Date.parse(new X509Certificate(ca.cert).validTo) - Date.now()) / 86_400_000;
  t.ok(days > 0 && days <= 1, `the CA is valid for ${days} days`);
  t.equal(await hosts.contextOf("192.0.2.1"), await hosts.contextOf("192.0.2.1"));
});
