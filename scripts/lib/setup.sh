# Sourced by every script: puts a Node new enough on PATH and installs the dependencies, once, quietly, on stderr.
# Needs npm and any Node; afterwards works offline.
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

airferry_node_ok() {
  [ "$("$1" -p 'Number(process.versions.node.split(".")[0])' 2>/dev/null || echo 0)" -ge 24 ]
}

airferry_setup() {
  local os cpu home
  if ! airferry_node_ok node; then
    os=$(uname -s | tr '[:upper:]' '[:lower:]')
    case $(uname -m) in x86_64 | amd64) cpu=x64 ;; aarch64 | arm64) cpu=arm64 ;; *) cpu=$(uname -m) ;; esac
    home=$ROOT/.cache/node
    if ! airferry_node_ok "$home/bin/node"; then
      echo "airferry: installing Node 24 from the npm registry (once)" >&2
      rm -rf "$home" "$home.part.$$"
      mkdir -p "$home.part.$$/bin"
      npm install --prefix "$home.part.$$" --no-save --no-audit --no-fund --loglevel=error "node-$os-$cpu@24" >&2 || return 1
      ln -s "../node_modules/node-$os-$cpu/bin/node" "$home.part.$$/bin/node"
      mv "$home.part.$$" "$home"
    fi
    export PATH=$home/bin:$PATH
  fi
  if [ ! -f "$ROOT/node_modules/.package-lock.json" ] || [ "$ROOT/package-lock.json" -nt "$ROOT/node_modules/.airferry-ready" ]; then
    echo "airferry: installing dependencies (once)" >&2
    (cd "$ROOT" && npm ci --no-audit --no-fund --loglevel=error >&2) || return 1
    # tap keeps which plugins are on in a build of its own; without this step it looks for the ones that .taprc switches off.
    (cd "$ROOT" && npx --no-install tap build >/dev/null 2>&1 || true)
    touch "$ROOT/node_modules/.airferry-ready"
  fi
}

if command -v flock >/dev/null 2>&1; then
  mkdir -p "$ROOT/.cache"
  exec 9>"$ROOT/.cache/setup.lock"
  flock 9
  airferry_setup || exit 1
  exec 9>&-
else
  airferry_setup || exit 1
fi
