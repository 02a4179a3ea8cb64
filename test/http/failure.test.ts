/** How faults of connections read: our words, the names that a certificate has, and what helps. */
import t from "tap";
import { socketFailure, statusHint } from "../../src/http/failure.ts";

const url = new URL("https://mirror.example:8443/a?token=SECRET");
const failed = (code: string, message: string) =>
  socketFailure(url, Object.assign(new Error(message), { code }), undefined).error;

t.test("socketFailure() says what OpenSSL, Node and the system mean", async (t) => {
  for (const [code, raw, message, hint] of [
    [
      "ERR_TLS_CERT_ALTNAME_INVALID",
      "Hostname/IP does not match certificate's altnames: Host: mirror.example. is not in the cert's altnames: DNS:a.example, DNS:b.example",
      /the certificate is for DNS:a\.example, DNS:b\.example: expected mirror\.example/,
      /^use the host name of the certificate in the URL/,
    ],
    [
      "ERR_TLS_CERT_ALTNAME_INVALID",
      "Hostname/IP does not match certificate's altnames: IP: 192.0.2.1 is not in the cert's list: ",
      /the certificate is for another name: expected mirror\.example/,
      /^use the host name/,
    ],
    [
      "CERT_HAS_EXPIRED",
      "certificate has expired",
      /the host's certificate has expired/,
      /check the clock of this host/,
    ],
    ["CERT_NOT_YET_VALID", "x", /is not valid yet/, /check the clock/],
    [
      "SELF_SIGNED_CERT_IN_CHAIN",
      "self-signed certificate in certificate chain; if the root CA is installed locally, try running Node.js with --use-system-ca",
      /the CA of the host's certificate is not trusted here/,
      /hosts: \{ "mirror\.example:8443": \{ ca: ca\.pem \} \}/,
    ],
    [
      "ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE",
      "C0A1B2:error:0A000412:SSL routines:ssl3_read_bytes:ssl/tls alert bad certificate:../deps/openssl/rec_layer_s3.c:916:SSL alert number 42",
      /TLS failed: ssl\/tls alert bad certificate/,
      /cert: client\.pem, key: client-key\.pem/,
    ],
    [
      "ERR_SSL_WRONG_VERSION_NUMBER",
      "x",
      /no TLS: the response is of another protocol/,
      /check the scheme, the port and the proxy/,
    ],
    ["ERR_SSL_DH_KEY_TOO_SMALL", "x", /Diffie-Hellman key is too short/, /check the scheme/],
    ["ECONNREFUSED", "connect ECONNREFUSED 192.0.2.1:8443", /connection refused \(ECONNREFUSED\)/, /check the network/],
    ["ENOTFOUND", "getaddrinfo ENOTFOUND mirror.example", /host name not found/, /check the network/],
  ] as const) {
    const error = failed(code, raw);
    t.match(error.message, message, code);
    t.match(error.hint, hint, code);
    t.notMatch(`${error.message} ${error.hint}`, /SECRET|error:[0-9A-F]{8}|deps\/openssl|--use-system-ca/, code);
  }
});

t.test("every hint of a status names the next thing to do", async (t) => {
  for (const [status, hint] of [
    [401, /credentials under hosts: \{ "mirror\.example:8443"/],
    [403, /credentials/],
    [404, /check the URL.*airferry lock MANIFEST --update/],
    [407, /HTTPS_PROXY/],
    [429, /--concurrency/],
    [503, /later/],
  ] as const)
    t.match(statusHint(status, url), hint, String(status));
});
