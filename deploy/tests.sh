#!/bin/sh
# The tests in four parts beside each other, each with an installation of its own: they wait more than they work. What the
# last part says is shown as it is said, what the others say when all have ended. Arguments go to all.
set -u
said=$(mktemp -d)
trap 'rm -rf "$said"' EXIT
part() {
    name=$1
    shift
    .venv/bin/python -m pytest "$@" >"$said/$name" 2>&1
    echo $? >"$said/$name.ended"
}
part browser tests/browser "$@" &
part integration-1 tests/integration/test_[a-o]*.py "$@" &
part integration-2 tests/integration/test_[p-z]*.py "$@" &
.venv/bin/python -m pytest tests --ignore=tests/integration --ignore=tests/browser "$@"
failed=$?
wait
for name in browser integration-1 integration-2; do
    cat "$said/$name"
    [ "$(cat "$said/$name.ended")" = 0 ] || failed=1
done
exit "$failed"
