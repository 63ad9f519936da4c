#!/bin/sh
# Installs the packages given as arguments where Debian's package manager is, and says what to install
# where it is not. Does nothing, and asks for no rights, when all are there.
set -eu

command -v dpkg-query >/dev/null 2>&1 || {
  echo "moonseek: no dpkg here; these must be installed (Debian's names): $*"
  exit 0
}

missing=""
for package in "$@"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then as_root=""
elif command -v sudo >/dev/null 2>&1; then as_root="sudo"
else
  echo "moonseek: run this as root, then again what you ran: apt-get install -y$missing" >&2
  exit 1
fi

echo "moonseek: installing$missing"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
$as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null 2>&1 ||
  { $as_root apt-get update -qq && $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null; }
