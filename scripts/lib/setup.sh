# Sourced by every script: puts a recent enough Node on PATH and installs the dependencies, once, with short notes on
# stderr. Afterwards it writes nothing and needs no network, so that one user can set up a checkout and another can run
# it. SETUP_DEV=1: also install what tests, benchmark and build need. SETUP_PINNED_NODE=1: use only the pinned Node.
# Needs npm only while something is missing.
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# --help prints the comment at the start of a script; the program has its own help. This installs nothing.
if [ "${1:-}" = --help ] || [ "${1:-}" = -h ]; then
  if [ "$(basename "${BASH_SOURCE[1]:-airferry}")" != airferry ]; then
    awk 'NR == 1 { next } !/^#/ { exit } { sub(/^# ?/, ""); print }' "${BASH_SOURCE[1]}"
    exit 0
  fi
fi

airferry_fail() {
  printf 'airferry: error: %s\nairferry: hint: %s\n' "$1" "$2" >&2
  return 1
}

# Node: the pinned one of node.lock if it is installed, otherwise the machine's own if it is recent enough.
airferry_use_node() {
  local home=$ROOT/.cache/node major
  if [ -f "$home/pinned" ] && [ "$(cat "$home/pinned")" = "$NODE_SHA256" ]; then
    export PATH=$home/bin:$PATH
    return 0
  fi
  [ "${SETUP_PINNED_NODE:-}" = "" ] || return 1
  major=$(node -p 'process.versions.node.split(".")[0]' 2>/dev/null || echo 0)
  [ "$major" -ge 24 ] 2>/dev/null
}

airferry_read_node_lock() {
  local first second third os cpu
  os=$(uname -s | tr '[:upper:]' '[:lower:]')
  case $(uname -m) in x86_64 | amd64) cpu=x64 ;; aarch64 | arm64) cpu=arm64 ;; *) cpu=$(uname -m) ;; esac
  NODE_PLATFORM=$os-$cpu NODE_VERSION='' NODE_INTEGRITY='' NODE_SHA256=''
  while read -r first second third; do
    case $first in
      version) NODE_VERSION=$second ;;
      "$NODE_PLATFORM") NODE_INTEGRITY=$second NODE_SHA256=$third ;;
    esac
  done <"$ROOT/scripts/lib/node.lock"
}

airferry_sha256() {
  local sum
  if command -v sha256sum >/dev/null 2>&1; then sum=$(sha256sum <"$1"); else sum=$(shasum -a 256 <"$1"); fi || return 1
  printf '%s' "${sum%% *}"
}

airferry_install_node() {
  local home=$ROOT/.cache/node part=$ROOT/.cache/node.part name=node-$NODE_PLATFORM actual
  if [ -z "$NODE_SHA256" ]; then
    airferry_fail "cannot install Node $NODE_VERSION: no build is pinned for $NODE_PLATFORM in scripts/lib/node.lock" \
      "install Node 24 or newer yourself, so that node is on PATH"
    return 1
  fi
  # An existing one, installed before node.lock existed, is kept if its bytes are the pinned ones.
  if [ -f "$home/bin/node" ] && [ "$(airferry_sha256 "$home/bin/node")" = "$NODE_SHA256" ]; then
    printf '%s\n' "$NODE_SHA256" >"$home/pinned"
    return 0
  fi
  airferry_need_npm "Node $NODE_VERSION" || return 1
  echo "airferry: installing Node $NODE_VERSION from the npm registry (once)" >&2
  rm -rf "$part"
  mkdir -p "$part/bin"
  trap 'rm -rf "$ROOT/.cache/node.part"; exit 130' INT TERM
  printf '{"name":"airferry-node","private":true,"dependencies":{"%s":"%s"}}\n' "$name" "$NODE_VERSION" >"$part/package.json"
  printf '{"name":"airferry-node","lockfileVersion":3,"requires":true,"packages":{"":{"dependencies":{"%s":"%s"}},"node_modules/%s":{"version":"%s","integrity":"%s"}}}\n' \
    "$name" "$NODE_VERSION" "$name" "$NODE_VERSION" "$NODE_INTEGRITY" >"$part/package-lock.json"
  if ! (cd "$part" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2); then
    rm -rf "$part"
    airferry_fail "cannot install Node $NODE_VERSION: npm failed, see above" \
      "check that npm reaches its registry, or install Node 24 or newer yourself"
    return 1
  fi
  actual=$(airferry_sha256 "$part/node_modules/$name/bin/node")
  if [ "$actual" != "$NODE_SHA256" ]; then
    rm -rf "$part"
    airferry_fail "cannot use Node $NODE_VERSION of npm package \"$name\": digest mismatch: expected sha256:$NODE_SHA256, got sha256:${actual:-none}" \
      "the registry gave other bytes than scripts/lib/node.lock pins; install Node 24 or newer yourself"
    return 1
  fi
  ln -s "../node_modules/$name/bin/node" "$part/bin/node"
  printf '%s\n' "$NODE_SHA256" >"$part/pinned"
  rm -rf "$home"
  mv "$part" "$home"
  trap - INT TERM
}

airferry_need_npm() {
  command -v npm >/dev/null 2>&1 && return 0
  airferry_fail "cannot install $1: npm was not found on PATH" \
    "install npm, or use the single file from bin/ of a bundle, or of scripts/build-binary on a machine with npm"
}

airferry_modules_ready() {
  [ -f "$ROOT/node_modules/.airferry-ready" ] || return 1
  [ "$ROOT/package-lock.json" -nt "$ROOT/node_modules/.airferry-ready" ] && return 1
  [ "${SETUP_DEV:-}" = "" ] || [ -d "$ROOT/node_modules/tap" ]
}

airferry_install_modules() {
  local omit=--omit=dev
  # Starting the program does not remove what was installed for tests.
  if [ "${SETUP_DEV:-}" != "" ] || [ -d "$ROOT/node_modules/tap" ]; then omit=--include=dev; fi
  airferry_need_npm "dependencies" || return 1
  echo "airferry: installing dependencies (once)" >&2
  if ! (cd "$ROOT" && npm ci "$omit" --ignore-scripts --no-audit --no-fund --loglevel=error >&2); then
    airferry_fail "cannot install dependencies: npm failed, see above" "check that npm reaches its registry, then run the command again"
    return 1
  fi
  # tap stores the enabled plugins in its own build; without this step it looks for those that .taprc disables.
  if [ "$omit" = --include=dev ]; then (cd "$ROOT" && npx --no-install tap build >/dev/null 2>&1 || true); fi
  touch "$ROOT/node_modules/.airferry-ready"
}

airferry_setup() {
  airferry_use_node && airferry_modules_ready && return 0
  if [ ! -w "$ROOT" ]; then
    airferry_fail "cannot set up the checkout in \"$ROOT\": no write access" \
      "run once as its owner: $ROOT/scripts/airferry --version"
    return 1
  fi
  # Other users may run the checkout.
  (
    umask 022
    mkdir -p "$ROOT/.cache"
    if command -v flock >/dev/null 2>&1; then
      exec 9>"$ROOT/.cache/setup.lock"
      flock 9
    fi
    airferry_use_node || airferry_install_node || exit 1
    airferry_use_node || exit 1
    airferry_modules_ready || airferry_install_modules
  ) || return 1
  airferry_use_node
}

airferry_read_node_lock
airferry_setup || exit 1
