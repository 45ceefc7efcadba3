#!/usr/bin/env bash
# Finds requirements that nothing imports, and imports that no requirement names: `make lint`. deptry does not read
# setup.py, so it is handed what was installed of it, without the tools of developers.
set -euo pipefail
cd "$(dirname "$0")/.."
wanted=.venv/requires.txt
.venv/bin/python - >$wanted <<'PYTHON'
from importlib.metadata import requires

for requirement in requires("memefly"):
    if not any(f'extra == "{name}"' in requirement for name in ("dev", "gpu", "sentences")):
        print(requirement.split("; extra")[0].split(" and extra")[0])
PYTHON
said=$(.venv/bin/deptry . --no-ansi --requirements-files $wanted 2>&1) || { echo "$said"; exit 1; }
