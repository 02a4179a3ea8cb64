/** Which bodies are the answers of token endpoints. */
import t from "tap";
import { isLoginAnswer } from "../../src/record/login-answer.ts";

const JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl";

t.test("answers that grant access", async (t) => {
  for (const body of [
    '{"token":"abc","expires_in":300}',
    '{"scopes":["a"],"access_token":"SECRET2"}',
    '\ufeff {"a":{"b":[{"refreshToken":"x"}]}}',
    '{\n  "Code" : "Success",\n  "AccessKeyId" : "ASIAX",\n  "SecretAccessKey" : "wJalr",\n  "Token" : "IQoJ"}',
    '{"Credentials":{"AccessKeyId":"ASIAX","SessionToken":"IQoJ"}}',
    '{"auth":{"client_token":"hvs.CAES","policies":["default"]}}',
    `{"count":1,"value":"${JWT}"}`,
    `["x",["${JWT}"]]`,
    `"${JWT}"`,
    `${JWT}\n`,
    '{"data":{"data":{"password":"0a1b2c3d4e5f6a7b8c9d0e"}}}',
    '{"a":1}\n{"access_token":"x"}\n',
    "scope=repo&access_token=gho_x&token_type=bearer",
  ])
    t.ok(isLoginAnswer(Buffer.from(body)), body);
});

t.test("others", async (t) => {
  for (const body of [
    "",
    "{",
    '{"access_token":""}',
    '{"access_token":{"type":"string"},"token":5}',
    '{"name":"x","dependencies":{"token":"^1.0.0","secret":"1.2.3"}}',
    '{"labels":{"password":"Password","access_token":"the token to use"}}',
    '{"payload":"eyJfdHlwZSI6Imh0dHBzOi8vaW4tdG90by5pbyJ9","payloadType":"application/vnd.in-toto+json"}',
    "eyJ is how it begins. Not. More.",
    "key=value&other=access_token",
    "plain text",
    "[".repeat(100_000),
    `${"[".repeat(100_000)}1${"]".repeat(100_000)}`,
  ])
    t.notOk(isLoginAnswer(Buffer.from(body)), body.slice(0, 80));
});
