import t from "tap";
import { redactText, redactUrl } from "../../src/io/redact.ts";

t.test("redactUrl() shows scheme, host, port and path, and nothing that may grant access", async (t) => {
  const cases = new Map([
    ["https://h.example/a+b~c/x.rpm", "https://h.example/a+b~c/x.rpm"],
    ["http://[2001:db8::1]:8080/a", "http://[2001:db8::1]:8080/a"],
    ["https://h.example/@scope/pkg", "https://h.example/@scope/pkg"],
    ["https://h.example/pkg@1.2.tgz", "https://h.example/pkg@1.2.tgz"],
    // Queries, whatever they hold, and fragments.
    ["https://h.example/a?t=SECRET", "https://h.example/a?***"],
    ["https://h.example/a?SECRET==", "https://h.example/a?***"],
    ["https://h.example/list?repo=a&arch=x86_64", "https://h.example/list?***"],
    ["https://h.example/a?X-Amz-Signature=SECRET#SECRET", "https://h.example/a?***"],
    ["https://h.example/a#SECRET", "https://h.example/a"],
    ["https://h.example/a?", "https://h.example/a?***"],
    // Users and passwords, also as people write them.
    ["https://user:SECRET@h.example/a", "https://***@h.example/a"],
    ["https://SECRET@h.example/a", "https://***@h.example/a"],
    ["HTTP://user:SECRET@h.example:80/a", "http://***@h.example/a"],
    ["https://us%40er:SECR%2FET@h.example/a?b", "https://***@h.example/a?***"],
    ["http://user:SECRET/2@h:3", "http://***@h:3"],
    ["http://user:77/SECRET@h:3", "http://user:77/***@h:3"],
    ["http://user:SECRET#4@h:3", "http://***@h:3"],
    ["http://user:SECRET?5@h:3", "http://***@h:3"],
    ["http://user:77#SECRET@h:3", "http://user:77/"],
    ["http://user:77?SECRET@h:3", "http://user:77/?***"],
    ["http://DOM\\user:SECRET@h:3", "http://dom/***@h:3"],
    ["http://dom/user:SECRET@h:3/x", "http://dom/***@h:3/x"],
    ["http://DOM\\SECRET/b@h:3", "http://dom/***@h:3"],
    ["http://user:SECRET 9@h:3", "http://***@h:3/"],
    ["socks5://user:SECRET@h:3", "socks5://***@h:3"],
    ["http://user:SECRET", "http://user:***"],
    // No URLs.
    ["//user:SECRET@h/a", "//***@h/a"],
    ["user:SECRET@h:3", "***@h:3"],
    ["https://[bad?SECRET", "https://[bad?***"],
    ["https://[bad/a", "https://[bad/a"],
    ["/relative?SECRET=1", "/relative"],
    ["", ""],
  ]);
  for (const [url, expected] of cases) {
    const shown = redactUrl(url);
    t.equal(shown, expected, url);
    t.notMatch(shown, /SECR/i);
    t.equal(redactUrl(shown), shown, "twice is once");
  }
  t.equal(redactUrl(new URL("https://a:b@h/x?y")), "https://***@h/x?***");
});

t.test("redactUrl() of generated URLs never shows what stands in a secret place", async (t) => {
  const odd = ["/", "\\", "#", "?", "@", ":", "%", " ", "%2F", "&", "=", "[", "]", "\n", "ü", "//"];
  const places = [
    (it: string) => `http://user:${it}@h.example:3128/`,
    (it: string) => `https://user:${it}@h.example/a/b`,
    (it: string) => `https://h.example/a?token=${it}`,
    (it: string) => `https://h.example/a?${it}`,
    (it: string) => `https://h.example/a#${it}`,
  ];
  let seen = 0;
  for (const place of places) {
    for (const a of odd) {
      for (const b of odd) {
        const url = place(`CANARY1${a}CANARY2${b}CANARY3`);
        for (const text of [redactUrl(url), redactText(`cannot fetch "${url.replaceAll(/["\n]/g, "")}": 404`)]) {
          seen++;
          if (/CANARY/i.test(text)) t.fail(`${JSON.stringify(url)} is shown as ${JSON.stringify(text)}`);
        }
      }
    }
  }
  t.equal(seen, places.length * odd.length * odd.length * 2);
});

t.test("redactText() redacts every URL and header in a text, and leaves the rest", async (t) => {
  const cases = new Map([
    ["cannot go on: no URL, no secret", "cannot go on: no URL, no secret"],
    ["at https://u:SECRET@h/a?b=SECRET, then", "at https://***@h/a?***, then"],
    ['cannot fetch "http://u:SECRET x@h/a": refused', 'cannot fetch "http://***@h/a": refused'],
    ["(asked at https://h/a?t=SECRET)", "(asked at https://h/a?***)"],
    ["two: http://a?SECRET http://b#SECRET", "two: http://a/?*** http://b/"],
    ["Authorization: Bearer SECRETSECRET.x", "Authorization: Bearer ***"],
    ["basic c2VjcmV0OnNlY3JldA==", "basic ***"],
    ["expected http:// or https://", "expected http:// or https://"],
    // Words of our own hints, for a reader to fill in.
    ["give http://HOST:PORT or https://HOST:PORT/ca.crt", "give http://HOST:PORT or https://HOST:PORT/ca.crt"],
    ["https://HOST:PORTSECRET", "https://HOST:***"],
  ]);
  for (const [text, expected] of cases) {
    t.equal(redactText(text), expected, text);
    t.equal(redactText(expected), expected, "twice is once");
  }
});

t.test("redactText() cleans messages of libraries", (t) => {
  t.equal(redactText("GET https://u:p@h/a failed"), "GET https://***@h/a failed");
  t.equal(redactText("sent Bearer abcdefgh.ijk"), "sent Bearer ***");
  t.end();
});
