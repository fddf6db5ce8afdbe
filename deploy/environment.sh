#!/bin/sh
# Make or renew .venv from a lock file with hashes: sh deploy/environment.sh LOCK STAMP
# Only built packages are taken, so that nothing is run that no hash covers. STAMP is made last: a run that died is repeated.
set -eu
lock=$1
stamp=$2

fits() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null
}

python=
for name in python3 python3.14 python3.13 python3.12 python3.11; do
    if fits "$name"; then python=$(command -v "$name") && break; fi
done
if [ -z "$python" ]; then
    echo "Spean needs Python 3.11 to 3.14, and none is on the PATH." >&2
    echo "Install one (Debian, Ubuntu: apt-get install python3 python3-venv; macOS: brew install python), then ask again." >&2
    exit 1
fi

export UV_PYTHON_DOWNLOADS=never
uv=
if uv --version >/dev/null 2>&1; then
    uv=uv
elif .tools/bin/uv --version >/dev/null 2>&1; then
    uv=.tools/bin/uv
elif "$python" -m pip --version >/dev/null 2>&1; then
    echo "fetching uv into .tools …"
    if "$python" -m pip install --quiet --disable-pip-version-check --upgrade --target .tools uv; then uv=.tools/bin/uv; fi
fi

with_uv() {
    [ -n "$uv" ] || return 1
    [ -x .venv/bin/python ] || "$uv" venv --quiet --python "$python" .venv || return 1
    "$uv" pip install --quiet --python .venv/bin/python --require-hashes --no-deps --only-binary :all: -r "$lock"
}

with_pip() {
    # Also gives pip to an environment that uv has begun.
    "$python" -m venv .venv || {
        rm -rf .venv
        echo "This Python can make no environment: install uv, or pip and venv" >&2
        echo "(Debian, Ubuntu: apt-get install python3-pip python3-venv), then ask again." >&2
        return 1
    }
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary :all: -r "$lock"
}

# An environment whose Python has gone, or is another version, is made anew.
if ! fits .venv/bin/python; then rm -rf .venv; fi
with_uv || with_pip || exit 1

# The command `spean`, from any folder, without building anything.
.venv/bin/python - <<'PYTHON'
import pathlib
import sys
import sysconfig

root = pathlib.Path.cwd()
pathlib.Path(sysconfig.get_path("purelib"), "spean.pth").write_text(f"{root}\n")
command = root / ".venv/bin/spean"
command.write_text(f"#!/bin/sh\nexec '{root}/.venv/bin/python' -m services.cli \"$@\"\n")
command.chmod(0o755)
PYTHON
touch "$stamp"
