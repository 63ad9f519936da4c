#!/bin/sh
# Runs the specs on the interpreters given as "NAME:COMMAND ..." at once, shows what they print, and ends
# with one line: how many passed and how many failed, luacheck's files counted as one each.
set -u

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
passed=0
failed=0

for interpreter in "$@"; do
  (
    # busted exits with the number of failures; a crash leaves no closing line, which counts as one below
    eval "${interpreter#*:} /usr/bin/busted ${SPECS:-}" >"$out/${interpreter%%:*}" 2>&1
    echo "exit $?" >>"$out/${interpreter%%:*}"
  ) &
done
wait

for interpreter in "$@"; do
  name=${interpreter%%:*}
  echo "== $name"
  cat "$out/$name"
  counts=$(sed -n 's/^\([0-9]*\) success[a-z]* \/ \([0-9]*\) failure[a-z]* \/ \([0-9]*\) error.*/\1 \2 \3/p' \
    "$out/$name" | tail -n 1)
  if [ -z "$counts" ]; then
    failed=$((failed + 1))
    echo "$name ended without a result"
  else
    set -- "$@"
    passed=$((passed + $(echo "$counts" | cut -d' ' -f1)))
    failed=$((failed + $(echo "$counts" | cut -d' ' -f2) + $(echo "$counts" | cut -d' ' -f3)))
    tail -n 1 "$out/$name" | grep -qx 'exit [0-9]*' || failed=$((failed + 1))
    # killed by a signal after its closing line: a crash at exit
    code=$(tail -n 1 "$out/$name" | cut -d' ' -f2)
    [ "$code" -lt 128 ] || { failed=$((failed + 1)); echo "$name was ended by signal $((code - 128))"; }
  fi
done

if [ -n "${LUACHECK:-}" ]; then
  echo "== luacheck"
  # shellcheck disable=SC2086
  if luacheck -q $LUACHECK; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
fi

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
