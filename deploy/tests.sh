#!/bin/sh
# The tests in parts beside each other, each with an installation of its own: they wait more than they work. `tests.sh quick`
# or `tests.sh long`; more arguments go to all parts. What the last part says is shown as it is said, what the others say when
# all have ended.
set -u
which=$1
shift
said=$(mktemp -d)
trap 'rm -rf "$said"' EXIT
part() {
    name=$1
    shift
    .venv/bin/python -m pytest "$@" -rs >"$said/$name" 2>&1
    echo $? >"$said/$name.ended"
}
if [ "$which" = long ]; then
    set -- -m long "$@"
    parts=models
    part models tests --ignore=tests/faults --ignore=tests/browser "$@" &
    .venv/bin/python -m pytest tests/faults tests/browser "$@" -rs
else
    set -- -m "not long" "$@"
    parts="browser integration-1 integration-2"
    part browser tests/browser tests/integration/test_pa*.py "$@" &
    part integration-1 tests/integration/test_[a-o]*.py "$@" &
    part integration-2 tests/integration/test_p[b-z]*.py tests/integration/test_[q-z]*.py "$@" &
    .venv/bin/python -m pytest tests --ignore=tests/integration --ignore=tests/browser "$@" -rs
fi
failed=$?
wait
for name in $parts; do
    cat "$said/$name"
    [ "$(cat "$said/$name.ended")" = 0 ] || failed=1
done
exit "$failed"
