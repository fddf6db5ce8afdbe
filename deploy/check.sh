#!/bin/sh
# What reads the source without running it. Everything is looked at, then the first failure decides.
set -u
failed=0
run() {
    if said=$("$@" 2>&1); then
        echo "ok: $*"
    else
        printf '%s\nFAILED: %s\n' "$said" "$*" >&2
        failed=1
    fi
}
run .venv/bin/ruff check --quiet .
run .venv/bin/ruff format --quiet --check .
run .venv/bin/lint-imports --no-cache --no-logo
run .venv/bin/mypy --no-error-summary
exit $failed
