"""`python -m benchmarks` lists what can be measured here (`make bench`)."""

import importlib
import pkgutil

import benchmarks

for module in pkgutil.iter_modules(benchmarks.__path__):
    if not module.name.startswith("_"):
        summary = (importlib.import_module(f"benchmarks.{module.name}").__doc__ or "").strip().splitlines()[0]
        print(f"python -m benchmarks.{module.name:<18}{summary}")
