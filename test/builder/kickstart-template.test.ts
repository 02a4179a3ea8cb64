/** src/builder/kickstart-template.ts: what is a placeholder and what only looks like one, and how values are written. */
import t from "tap";
import { isKickstart } from "../../src/builder/kickstart-findings.ts";
import { accountsOf } from "../../src/builder/kickstart-login.ts";
import { fillPlaceholders, marksOf, placeholdersOf, valueFault } from "../../src/builder/kickstart-template.ts";

// biome-ignore-start lint/suspicious/noTemplateCurlyInString: that is what kickstart templates have
const PLACEHOLDERS = new Map<string, string | undefined>([
  ["user --password=$SSH_PASSWORD", "SSH_PASSWORD"],
  ['user --password="${SSH_PASSWORD}" --plaintext', "SSH_PASSWORD"],
  ["rootpw --plaintext $root_password", "root_password"],
  ["network --hostname=${host}.example", "host"],
  ["user --password={{ .Password }}", "Password"],
  ["user --password={{ssh_password}}", "ssh_password"],
  ["user --password={{user `ssh_password`}}", "ssh_password"],
  ['user --password={{ lookup("env", "X") }}', undefined],
  ["{% if rhel %}", undefined],
  ["user --password=<%= password %>", undefined],
  ["user --password=@SSH_PASSWORD@", "SSH_PASSWORD"],
  ["user --password=%%SSH_PASSWORD%%", "SSH_PASSWORD"],
  ["%packages\n$EXTRA\n%end", "EXTRA"],
  ['%post\necho "builder:$SSH_PASSWORD" | chpasswd\n%end', "SSH_PASSWORD"],
]);

t.test("placeholders are found in each form that templates have", async (t) => {
  for (const [text, name] of PLACEHOLDERS) {
    const found = placeholdersOf(text);
    t.equal(found.length, 1, text);
    t.equal(found[0]?.name, name, text);
    t.equal(marksOf(fillPlaceholders(text, () => undefined)).length, 1, text);
    if (name !== undefined) t.strictSame(placeholdersOf(fillPlaceholders(text, () => "value")), [], text);
  }
});

/** Each with the reason why it is none. */
const NONE = new Map([
  ["rootpw --iscrypted $6$rounds=5000$saltsalt$Ab./cdEF", "a hash"],
  ["user --name=a --iscrypted --password=$y$j9T$SALT$HASH", "a hash of another kind"],
  ["# user --password=$SSH_PASSWORD", "a comment"],
  ["user --name=a --password=pa$word --plaintext", "a dollar sign in a password"],
  ["url --mirrorlist=https://m/?arch=$basearch&repo=$releasever", "dnf's own variables"],
  ['%post\nfor NAME in a; do echo "$NAME $HOME ${NAME}"; done\n%end', "a script's own variables"],
  ["%pre\nSSH_PASSWORD=$(cat /x)\necho $SSH_PASSWORD\n%end", "a variable that the script sets"],
  ["%post\ndocker inspect -f '{{ .Id }}'\n%end", "a template of another program"],
  ["%post --interpreter=/usr/bin/python3\nprint('{{x}}', '%s' % 1)\n%end", "another language"],
  ["@^minimal-environment\n@core", "groups"],
  ["%packages\n@core\n-iwl*firmware\n%end", "packages"],
]);

// biome-ignore-end lint/suspicious/noTemplateCurlyInString: that is what kickstart templates have
t.test("what only looks like a placeholder is none, and every byte of it stays", async (t) => {
  for (const [text, why] of NONE) {
    t.strictSame(placeholdersOf(text), [], why);
    t.equal(
      fillPlaceholders(text, () => "value"),
      text,
      why,
    );
  }
});

t.test("values are quoted as a kickstart parser reads them, and never filled in twice", async (t) => {
  const fill = (text: string, value: string) => fillPlaceholders(text, () => value);
  t.equal(fill("user --password=$PW --plaintext", "plain-1"), "user --password=plain-1 --plaintext");
  for (const value of ["with space", 'a"b', "a#b", "a'b", "$SSH_PASSWORD", "a\\b", "#x"]) {
    for (const text of ["--password=$PW", '--password="$PW"', "--password='$PW'"]) {
      const [account] = accountsOf(`user --name=x ${fill(text, value)} --plaintext`);
      // A value that looks like a placeholder is no longer known to be none.
      if (value !== "$SSH_PASSWORD") t.equal(account?.password, value, `${text} ${value}`);
    }
  }
  t.equal(fill("a $PW\r\nb\r\n", "x"), "a x\r\nb\r\n");
  t.equal(
    fillPlaceholders("a $PW\r\nb", () => ""),
    "# FILL IN: PW\r\na <FILL IN: PW>\r\nb",
    "an empty value is none",
  );
  t.match(valueFault("x", "SSH_PASSWORD", "a'b"), /shutdown command/);
  t.equal(valueFault("x $NAME", "NAME", "a b"), undefined);
  t.match(valueFault("x $NAME\n%post\necho $NAME\n%end", "NAME", "a b"), /script/);
});

t.test("the kickstart file is the one that the builder names, or what has the name of one", async (t) => {
  t.ok(isKickstart("files/a/ks.cfg.tmpl", undefined));
  t.ok(isKickstart("files/ks.cfg.rocky9", undefined));
  t.notOk(isKickstart("files/ks.cfg", "other.cfg"));
  t.ok(isKickstart("files/other.cfg", "other.cfg"));
  t.notOk(isKickstart("isos/ks.cfg", undefined));
});
