"""The house keeps its order: imports run one way, and importing does nothing."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parents[1]


def imports(folder: str) -> dict[str, set[str]]:
    found = {}
    for path in (HOME / folder).rglob("*.py"):
        lines = re.findall(r"^\s*(?:from|import)\s+([\w.]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        found[str(path.relative_to(HOME))] = {name.split(".")[0] for name in lines}
    return found


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [("memefly", {"tfx", "tfx_bsl", "components", "pipeline", "tensorflow_transform"}), ("components", {"pipeline"})],
)
def test_imports_point_one_way(folder, forbidden):
    assert imports(folder)
    for path, names in imports(folder).items():
        assert not names & forbidden, f"{path} imports {names & forbidden}"


def test_importing_starts_nothing():
    code = (
        "import sys, threading; import memefly, memefly.tracking, memefly.encoders, memefly.cli, pipeline.command; "
        "assert not {'tensorflow', 'wandb', 'tfx'} & set(sys.modules), 'heavy imports'; "
        "assert threading.active_count() == 1"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=HOME)


def test_one_schema_of_the_example():
    """What CaptionExampleGen writes is what the schema says."""
    schema = (HOME / "schemas" / "captions.pbtxt").read_text()
    executor = (HOME / "components" / "caption_example_gen" / "executor.py").read_text()
    written = re.findall(r'^        "(\w+)": feature', executor, re.MULTILINE)
    assert set(written) | {"features", "features_shape", "features_flipped"} == set(
        re.findall(r'name: "(\w+)"', schema)
    )
