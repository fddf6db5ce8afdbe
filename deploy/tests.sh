#!/bin/sh
# The tests in two halves beside each other, each with an installation of its own: two cores, half the time. What the first
# says is shown as it is said, what the second says when both have ended. Arguments go to both.
set -u
said=$(mktemp)
trap 'rm -f "$said"' EXIT
.venv/bin/python -m pytest tests --ignore=tests/integration "$@" >"$said" 2>&1 &
other=$!
trap 'kill "$other" 2>/dev/null' INT TERM
.venv/bin/python -m pytest tests/integration "$@"
one=$?
wait "$other"
two=$?
cat "$said"
[ "$one" = 0 ] && [ "$two" = 0 ]
