#!/usr/bin/env bash
# Brings .venv up from the locks: `make setup`. A second call with the same locks does nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
VENV=.venv
STAMP=$VENV/.ready
want=$(cat requirements/lock.txt requirements/uv.txt requirements/setup.sh setup.py | sha256sum | cut -d' ' -f1)
[ "$(cat "$STAMP" 2>/dev/null)" = "$want" ] && exit 0

say() { printf 'setup: %s\n' "$*" >&2; }
LOG=$(mktemp "${TMPDIR:-/tmp}/memefly-setup.XXXXXX.log")
run() {  # quiet unless it fails
  "$@" >>"$LOG" 2>&1 || { local status=$?; tail -n 40 "$LOG" >&2; say "failed ($status): $*"; say "whole log: $LOG"; exit 1; }
}

if ! command -v g++ >/dev/null 2>&1; then
  say "no C++ compiler: one package (pyfarmhash, of TensorFlow Data Validation) comes as source only."
  say "On Debian and Ubuntu: apt-get install g++. Then call make again."
  exit 1
fi

if [ ! -x "$VENV/bin/python" ]; then
  if python3.10 -c 'import venv, ensurepip' >/dev/null 2>&1; then
    say "virtual environment in $VENV with $(python3.10 --version)"
    run python3.10 -m venv "$VENV"
  elif command -v uv >/dev/null 2>&1; then
    say "virtual environment in $VENV with a Python 3.10 that uv brings"
    run uv venv --seed --python 3.10 "$VENV"
  elif python3.10 --version >/dev/null 2>&1; then
    say "python3.10 is here, but it cannot make virtual environments (ensurepip is missing)."
    say "On Debian and Ubuntu: apt-get install python3.10-venv python3.10-dev. Then call make again."
    exit 1
  else
    say "no Python 3.10 found, and TFX 1.16 runs on no newer one. Any one of these will do, then call make again:"
    say "  uv:     pip install uv          (it downloads Python 3.10 by itself)"
    say "  pyenv:  pyenv install 3.10      (.python-version of this folder then selects it)"
    say "  Ubuntu 22.04: apt-get install python3.10 python3.10-venv python3.10-dev"
    exit 1
  fi
fi

say "installer"
run "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
say "$(grep -c '==' requirements/lock.txt) packages from requirements/lock.txt, hashes checked (3 GB; a few minutes the first time)"
run "$VENV/bin/uv" pip sync --python "$VENV/bin/python" --require-hashes --link-mode copy requirements/lock.txt
say "memefly itself"
run "$VENV/bin/uv" pip install --python "$VENV/bin/python" --no-deps --no-build-isolation -e .
say "byte code (start-up is three times faster with it)"
# -j 0: all cores. Some packages ship templates and Python 2 files that do not compile: those are none of ours.
PYTHONDONTWRITEBYTECODE= "$VENV/bin/python" -m compileall -q -j 0 "$VENV/lib" >>"$LOG" 2>&1 || true
rm -f "$LOG"
echo "$want" >"$STAMP"
say "done"
