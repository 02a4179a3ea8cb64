/** HTML that escapes by itself. */
import t from "tap";
import { type Html, html, joined } from "../../src/html/html.ts";

t.test("html`` escapes every value that is not HTML", async (t) => {
  const bad = `<img src=x onerror="a('b')"> & \u202e\n`;
  const escaped = "&lt;img src=x onerror=&quot;a(&#39;b&#39;)&quot;&gt; &amp; \\u{202e}\\u{a}";
  t.equal(String(html`<p title="${bad}">${bad}</p>`), `<p title="${escaped}">${escaped}</p>`);
  t.equal(String(html`<p>${html`<b>${bad}</b>`}</p>`), `<p><b>${escaped}</b></p>`, "HTML as it is, and once only");
  t.equal(String(joined([bad, html`<br>`, 7], html` · `)), `${escaped} · <br> · 7`);
  t.equal(String(joined(["a", "b"], "<")), "a&lt;b", "what stands between is text too");
  const forged = { toString: () => "<script>" };
  t.equal(String(html`${forged as unknown as Html}`), "&lt;script&gt;", "what only looks like HTML is text");
  t.equal(String(html`${Number.NaN}`), "NaN");
});
