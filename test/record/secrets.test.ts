/** What clients log in with is found again, in whatever header it was and however it is spelled. */
import t from "tap";
import { KnownSecrets } from "../../src/record/secrets.ts";

t.test("headers that carry credentials", async (t) => {
  for (const name of [
    "authorization",
    "proxy-authorization",
    "x-jfrog-art-api",
    "x-vault-token",
    "private-token",
    "job-token",
    "x-amz-security-token",
    "x-api-key",
    "api-key",
    "x-apikey",
    "x-auth-token",
    "x-goog-api-key",
    "x-client-secret",
    "x-password",
  ]) {
    const secrets = new KnownSecrets();
    secrets.addFrom({ [name]: "VALUE-OF-IT", accept: "text/x-of-anybody", "user-agent": "keyboard/1.0.0" });
    t.ok(secrets.areIn(Buffer.from("you sent VALUE-OF-IT.")), name);
    t.notOk(secrets.areIn("text/x-of-anybody keyboard/1.0.0"));
  }
});

t.test("how they are spelled", async (t) => {
  const secrets = new KnownSecrets();
  secrets.addFrom({
    "x-vault-token": 'a/b+c"d=e',
    cookie: 'a=short; b="COOKIE/VALUE"',
    "x-api-key": "FIRST-KEY, OTHER-KEY",
  });
  secrets.addFrom({ authorization: `Basic ${Buffer.from("me:pass:word/1").toString("base64")}` });
  for (const text of [
    'a/b+c"d=e',
    JSON.stringify({ it: 'a/b+c"d=e' }),
    "COOKIE\\/VALUE",
    "FIRST-KEY",
    "OTHER-KEY",
    "pass:word/1",
    Buffer.from("me:pass:word/1").toString("base64"),
  ])
    t.ok(secrets.areIn(text), text);
  for (const url of ["https://a/x/COOKIE/VALUE", "https://a/?q=COOKIE%2fVALUE", "https://a/?q=a/b%2Bc%22d%3de"])
    t.ok(secrets.areInUrl(url), url);
  t.notOk(secrets.areInUrl("https://a/?q=%ff%zz&short"));
});
