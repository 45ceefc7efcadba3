#!/usr/bin/env bash
# Brings .venv up from a lock: `make setup`, or `make setup LANE=1.16`, or `make setup GPU=1`. A second call does nothing.
#
# There are two lanes, sets of versions that work together (setup.py): TFX 1.21 on Python 3.11 to 3.13 where the C library
# is glibc 2.39 or newer, else TFX 1.16 on Python 3.10. Taken is LANE; else the one that .venv has already; else the newest
# that this machine can hold.
set -euo pipefail
cd "$(dirname "$0")/.."
VENV=.venv
STAMP=$VENV/.ready
NEWEST=1.21
say() { printf 'setup: %s\n' "$*" >&2; }
refuse() { say "$@"; exit 1; }

pythons_of() { [ "$1" = 1.21 ] && echo "3.13 3.12 3.11" || echo "3.10"; }
GLIBC=$(getconf GNU_LIBC_VERSION 2>/dev/null | awk '{print $2}')
holds() { # whether the C library is new enough for the wheels of lane $1
  local least; least=$([ "$1" = 1.21 ] && echo 2.39 || echo 2.31)
  [ -n "$GLIBC" ] && [ "$(printf '%s\n%s\n' "$least" "$GLIBC" | sort -V | head -n 1)" = "$least" ]
}

# Prints the path of the interpreter that command $1 starts if it is one of the versions after it. Where pyenv is, its
# commands start only what a folder or PYENV_VERSION asks for.
interpreter() {
  local command=$1 version; shift
  command -v "$command" >/dev/null 2>&1 || return 1
  for version in "" "$@"; do
    env ${version:+PYENV_VERSION=$version} "$command" - "$@" 2>/dev/null <<'PYTHON' && return 0
import sys
if "%d.%d" % sys.version_info[:2] not in sys.argv[1:]:
    sys.exit(1)
print(sys.executable)
PYTHON
  done
  return 1
}

find_python() { # of lane $1
  local versions version; read -ra versions <<<"$(pythons_of "$1")"
  interpreter python3 "${versions[@]}" && return 0
  for version in "${versions[@]}"; do interpreter "python$version" "$version" && return 0; done
  command -v uv >/dev/null 2>&1 || return 1
  for version in "${versions[@]}"; do uv python find --no-project --no-python-downloads "$version" 2>/dev/null && return 0; done
  # None is here, but uv can bring one.
  say "no Python ${versions[*]} is here; uv downloads ${versions[0]}"
  uv python install --quiet "${versions[0]}" >&2 && uv python find --no-project "${versions[0]}"
}

neither() {
  say "no lane fits: this machine has $(uname -m), glibc ${GLIBC:-unknown}, $(python3 --version 2>/dev/null || echo 'no python3')."
  say "TFX 1.21 wants Linux on x86-64 with glibc 2.39 (Debian 13, Ubuntu 24.04) and Python 3.11, 3.12 or 3.13:"
  say "  apt-get install python3 python3-venv python3-dev g++ make"
  say "TFX 1.16 wants Linux on x86-64 with glibc 2.31 (Debian 11 and 12, Ubuntu 20.04 and 22.04) and Python 3.10:"
  say "  uv:     pip install uv          (it downloads Python by itself)"
  say "  pyenv:  pyenv install 3.10"
  say "  Ubuntu 22.04: apt-get install python3.10 python3.10-venv python3.10-dev g++ make"
  refuse "Any one of these will do; then call make again."
}

[ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || neither
SETTLED=$(cut -d' ' -f1 "$STAMP" 2>/dev/null || true)
case $SETTLED in 1.21 | 1.16) ;; *) SETTLED= ;; esac # stamps of earlier versions name no lane
case ${LANE:-} in
  "") ;;
  1.21 | 1.16) holds "$LANE" || refuse "LANE=$LANE wants $([ "$LANE" = 1.21 ] && echo 'glibc 2.39 (Debian 13, Ubuntu 24.04)' || echo 'glibc 2.31'); here is ${GLIBC:-no glibc}." ;;
  *) refuse "LANE is $LANE; there are 1.21 and 1.16" ;;
esac
case ${GPU:-} in "" | 0) GPU= ;; 1) ;; *) refuse "GPU is $GPU; expected 1 or nothing" ;; esac

if [ -n "${LANE:-}" ]; then
  lane=$LANE why="as LANE says"
elif [ -n "$SETTLED" ]; then
  lane=$SETTLED why="as .venv has it"
  [ -n "$GPU" ] || [ "$(cut -d' ' -f2 "$STAMP")" != gpu ] || GPU=1
else
  lane= why=
fi

lock_of() { echo "requirements/tfx-$1${GPU:+-gpu}.txt"; }
stamp_of() { echo "$1 $([ -n "$GPU" ] && echo gpu || echo cpu) $(cat "$(lock_of "$1")" requirements/uv.txt requirements/setup.sh setup.py | sha256sum | cut -d' ' -f1)"; }
may_have_gpu() { # lane $1
  [ -z "$GPU" ] || [ "$1" = "$NEWEST" ] || refuse "GPU=1 is for TFX $NEWEST; here it is TFX $1, $why. For CUDA take Debian 13 or Ubuntu 24.04."
}
[ -z "$lane" ] || may_have_gpu "$lane"
[ -n "$lane" ] && [ "$(cat "$STAMP" 2>/dev/null)" = "$(stamp_of "$lane")" ] && exit 0

if [ -n "$lane" ]; then
  python=$(find_python "$lane") || refuse "TFX $lane runs on Python $(pythons_of "$lane" | sed 's/ /, /g'), and none was found: not as python3, not by its own name, not through uv."
elif holds "$NEWEST" && python=$(find_python "$NEWEST"); then
  lane=$NEWEST why="the newest, and glibc $GLIBC and this Python hold it"
elif holds 1.16 && python=$(find_python 1.16); then
  lane=1.16
  if holds "$NEWEST"; then why="no Python 3.11 to 3.13 found for TFX $NEWEST"; else why="glibc is $GLIBC here, and TFX $NEWEST wants 2.39"; fi
else
  neither
fi
may_have_gpu "$lane"
say "TFX $lane on $("$python" --version)${GPU:+, with CUDA}: $why"

LOG=$(mktemp "${TMPDIR:-/tmp}/memefly-setup.XXXXXX.log")
run() { # quiet unless it fails
  "$@" >>"$LOG" 2>&1 || { local status=$?; tail -n 40 "$LOG" >&2; say "failed ($status): $*"; say "whole log: $LOG"; exit 1; }
}

version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
# Two packages come as source only: pyfarmhash (of TensorFlow Data Validation) and, on Python 3.10, google-apitools.
command -v g++ >/dev/null 2>&1 || refuse "no C++ compiler, which one package needs. On Debian and Ubuntu: apt-get install g++. Then call make again."
"$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' ||
  refuse "the headers of Python $version are missing, which one package needs. On Debian and Ubuntu: apt-get install python$version-dev. Then call make again."

if [ "$("$VENV/bin/python" -c 'import sys; print(sys.base_prefix, "%d.%d" % sys.version_info[:2])' 2>/dev/null)" != \
  "$("$python" -c 'import sys; print(sys.base_prefix, "%d.%d" % sys.version_info[:2])')" ]; then
  rm -rf "$VENV" # of another Python, or none
  if "$python" -c 'import venv, ensurepip' >/dev/null 2>&1; then
    run "$python" -m venv "$VENV"
  elif command -v uv >/dev/null 2>&1; then
    run uv venv --seed --no-project --python "$python" "$VENV"
  else
    refuse "$python cannot make virtual environments (ensurepip is missing). On Debian and Ubuntu: apt-get install python$version-venv. Then call make again."
  fi
fi
rm -f "$STAMP"

say "installer"
run "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
lock=$(lock_of "$lane")
say "$(grep -c '^[a-z].*==' "$lock") packages from $lock, hashes checked (3 GB${GPU:+, CUDA 3 GB more}; a few minutes the first time)"
run "$VENV/bin/uv" pip sync --python "$VENV/bin/python" --require-hashes --link-mode copy "$lock"
say "memefly itself"
run "$VENV/bin/uv" pip install --python "$VENV/bin/python" --no-deps --no-build-isolation -e .
say "byte code (start-up is three times faster with it)"
# -j 0: all cores. Some packages ship templates and Python 2 files that do not compile: those are none of ours. Nor are a
# third of the sources, which nothing here imports: clients of clouds that TFX brings, tests, lists of area codes.
PYTHONDONTWRITEBYTECODE= "$VENV/bin/python" -m compileall -q -j 0 \
  -x '/(tests|aiplatform[a-z0-9_]*|vertexai|agentplatform|debugpy|pip|geodata|carrierdata)/' "$VENV/lib" >>"$LOG" 2>&1 || true
rm -f "$LOG"
stamp_of "$lane" >"$STAMP"
say "done"
