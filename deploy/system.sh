#!/bin/sh
# System packages for tests: Java and Maven for a real Kafka, Chromium for pages. `--now` fails where they cannot be had; otherwise they are
# installed where that asks nobody (as root, or in CI, on Debian and its kin), and what stays missing is said loudly.
set -eu
missing=
command -v java >/dev/null 2>&1 || missing="default-jre-headless"
command -v mvn >/dev/null 2>&1 || missing="$missing maven"
command -v chromium >/dev/null 2>&1 || command -v chromium-browser >/dev/null 2>&1 || missing="$missing chromium"
[ -n "$missing" ] || exit 0

as_root=
if [ "$(id -u)" != 0 ]; then as_root="sudo -n"; fi
if command -v apt-get >/dev/null 2>&1 && { [ "$(id -u)" = 0 ] || [ "${CI:-}" = true ] || [ "${1:-}" = --now ]; }; then
    echo "installing $missing …"
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086
    if $as_root apt-get update -qq && $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null; then exit 0; fi
fi
echo "MISSING: $missing. Tests on a real Kafka or in a browser will be skipped. To add them:" >&2
echo "  Debian, Ubuntu: sudo apt-get install -y$(printf ' %s' $missing)      macOS: brew install openjdk maven chromium" >&2
[ "${1:-}" != --now ]
