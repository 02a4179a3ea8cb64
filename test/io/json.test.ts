/** JSON from outside: how deep it is, and names that an object has twice. */
import t from "tap";
import { hasRepeatedName, parseJson } from "../../src/io/json.ts";

t.test("depth is counted outside of strings", async (t) => {
  t.same(parseJson(`"${"[".repeat(100)}"`), "[".repeat(100));
  t.throws(() => parseJson(`${"[".repeat(65)}${"]".repeat(65)}`), /more than 64 levels/);
});

t.test("a name that is there twice is found, whatever its spelling and place", async (t) => {
  for (const text of [
    '{"a":1,"a":2}',
    '{"a":1,"\\u0061":2}',
    '{"a" : 1, "b":[{"c":1}], "a"\n:2}',
    '[{"x":{"b":1,"c":{},"b":1}}]',
    '{"\\"":1,"\\"":2}',
    '{"__proto__":1,"__proto__":2}',
  ]) {
    t.doesNotThrow(() => JSON.parse(text), text);
    t.ok(hasRepeatedName(text), text);
  }
  for (const text of [
    '{"a":1,"b":{"a":1},"c":[{"a":1},{"a":2}]}',
    '{"a":"a","b":"a"}',
    '["a","a"]',
    '{"a":"\\"a\\":1","A":2}',
    '{"a":"{","b":"}","c":"["}',
    '"x"',
    "{}",
  ]) {
    t.doesNotThrow(() => JSON.parse(text), text);
    t.notOk(hasRepeatedName(text), text);
  }
  t.notOk(hasRepeatedName(`["${"x".repeat(1_000_000)}","${'\\"'.repeat(500_000)}"]`), "long strings");
});
