#!/usr/bin/env bash
# Runs a command where the mirror in the current folder is all there is, as https://dl.minel.example/: in network and
# mount namespaces of its own, which end with it. Arguments: the command.
set -euo pipefail
if [ "${1:-}" != --inside ]; then
  exec unshare --net --mount --pid --fork --kill-child --mount-proc bash "$0" --inside "$@"
fi
shift
ip link set lo up
mount --bind hosts /etc/hosts
nginx -p "$PWD" -c "$PWD/nginx.conf"
exec "$@"
