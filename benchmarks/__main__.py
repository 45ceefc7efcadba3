"""`python -m benchmarks` lists what can be measured here (`make bench`)."""

import ast
from pathlib import Path

for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
    summary = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]
    print(f"python -m benchmarks.{path.stem:<18}{summary}")
