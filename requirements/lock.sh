#!/usr/bin/env bash
# Resolves the locks anew from setup.py, one a lane, with hashes: `make lock`. What it resolves with is in uv.txt.
set -euo pipefail
cd "$(dirname "$0")/.."
compile() { # the lock $1, with what follows
  local lock=$1; shift
  .venv/bin/uv pip compile setup.py --quiet --generate-hashes --no-emit-index-url --custom-compile-command "make lock" \
    -c requirements/constraints.txt "$@" -o "requirements/$lock"
  echo "requirements/$lock: $(grep -c '^[a-z].*==' "requirements/$lock") packages"
}
# One file for Python 3.11 to 3.13: what differs between them has a marker.
WHOLE=(--extra pipeline --extra serving --extra kubeflow --extra dev)
compile tfx-1.21.txt "${WHOLE[@]}" --universal --python-version 3.11 --upgrade
# jsonschema can do without this one, which builds a grammar for four seconds whenever TFX is imported.
compile tfx-1.16.txt "${WHOLE[@]}" --no-emit-package rfc3987-syntax --no-emit-package lark --python-version 3.10 --python-platform x86_64-manylinux_2_31 --upgrade
# The others hold the same versions of what they share with the newer lane.
compile tfx-1.21-gpu.txt "${WHOLE[@]}" --extra gpu --universal --python-version 3.11 -c requirements/tfx-1.21.txt
compile serving.txt --extra serving --override requirements/gateway-overrides.txt --python-version 3.13 --python-platform x86_64-manylinux_2_40 -c requirements/tfx-1.21.txt
