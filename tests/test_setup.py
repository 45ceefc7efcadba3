"""What `make setup` chooses on which machine: requirements/setup.sh with a C library, Pythons and a uv made up for it.

There is never a C++ compiler, so it stops behind its choice, before it makes or installs anything.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HOME = Path(__file__).parents[1]
TOOLS = (
    *(
        "awk",
        "bash",
        "cat",
        "cut",
        "dirname",
        "env",
        "grep",
        "head",
        "mktemp",
        "rm",
        "sed",
        "sha256sum",
        "sort",
        "tail",
    ),
    "tr",
)
PYTHON = """#!/bin/sh
case "$1" in
  --version) echo "Python {version}.5" ;;
  -) cat >/dev/null; for wanted; do [ "$wanted" = {version} ] && {{ echo "$0"; exit 0; }}; done; exit 1 ;;
  -c) echo {version} ;;
esac
"""
# Knows the Pythons that it has downloaded, and downloads others.
UV = """#!/bin/sh
for last; do :; done
case "$1 $2" in
  "python install") : >"$(dirname "$0")/.has-$last" ;;
  "python find") [ -e "$(dirname "$0")/.has-$last" ] && echo "$(dirname "$0")/python$last-of-uv" ;;
esac
"""


@pytest.fixture
def setup(tmp_path):
    """(glibc, names of commands with their Python's version, variables) to the status and the lines it said."""
    bin = tmp_path / "bin"
    bin.mkdir()
    for tool in TOOLS:
        (bin / tool).symlink_to(shutil.which(tool))
    shutil.copytree(HOME / "requirements", tmp_path / "requirements")
    shutil.copy(HOME / "setup.py", tmp_path)

    def command(name: str, script: str) -> None:
        (bin / name).write_text(script)
        (bin / name).chmod(0o755)

    def run(glibc: str, pythons: dict[str, str], uv: bool = False, machine: str = "x86_64", **variables: str):
        command("getconf", f"#!/bin/sh\necho glibc {glibc}\n")
        command("uname", f'#!/bin/sh\n[ "$1" = -s ] && echo Linux || echo {machine}\n')
        for name, version in pythons.items():
            command(name, PYTHON.format(version=version))
        if uv:
            command("uv", UV)
            for version in ("3.10", "3.13"):
                command(f"python{version}-of-uv", PYTHON.format(version=version))
        environment = {"PATH": str(bin), "TMPDIR": str(tmp_path), **variables}
        script = ["bash", str(tmp_path / "requirements" / "setup.sh")]
        done = subprocess.run(script, capture_output=True, text=True, env=environment)
        assert not done.stdout and done.returncode == 1, "it must stop: there is no compiler"
        return [line.removeprefix("setup: ") for line in done.stderr.splitlines()]

    return run


@pytest.mark.parametrize(
    ("glibc", "pythons", "said"),
    [
        ("2.41", {"python3": "3.13"}, "TFX 1.21 on Python 3.13.5: the newest, and glibc 2.41 and this Python hold it"),
        ("2.39", {"python3": "3.12"}, "TFX 1.21 on Python 3.12.5: the newest, and glibc 2.39 and this Python hold it"),
        ("2.41", {"python3": "3.14", "python3.12": "3.12"}, "TFX 1.21 on Python 3.12.5: the newest, and glibc 2.41"),
        ("2.36", {"python3": "3.11", "python3.10": "3.10"}, "TFX 1.16 on Python 3.10.5: glibc is 2.36 here"),
        ("2.41", {"python3": "3.10"}, "TFX 1.16 on Python 3.10.5: no Python 3.11 to 3.13 found for TFX 1.21"),
    ],
)
def test_the_newest_lane_that_the_machine_holds(setup, glibc, pythons, said):
    lines = setup(glibc, pythons)
    assert lines[0].startswith(said)
    assert lines[1].startswith("no C++ compiler")


@pytest.mark.parametrize(("glibc", "lane", "version"), [("2.41", "1.21", "3.13"), ("2.31", "1.16", "3.10")])
def test_uv_brings_a_python_where_none_is(setup, glibc, lane, version):
    lines = setup(glibc, {}, uv=True)
    assert lines[0].endswith(f"uv downloads {version}") and lines[1].startswith(f"TFX {lane} on Python {version}.5")


def test_LANE_chooses(setup):
    pythons = {"python3": "3.13", "python3.10": "3.10"}
    assert setup("2.41", pythons, LANE="1.16")[0] == "TFX 1.16 on Python 3.10.5: as LANE says"
    assert setup("2.36", pythons, LANE="1.21")[0].startswith("LANE=1.21 wants glibc 2.39 (Debian 13, Ubuntu 24.04)")
    assert setup("2.41", pythons, LANE="2.0")[0] == "LANE is 2.0; there are 1.21 and 1.16"


def test_a_gpu_is_for_the_newer_lane(setup):
    assert setup("2.41", {"python3": "3.13"}, GPU="1")[0].startswith("TFX 1.21 on Python 3.13.5, with CUDA: ")
    assert setup("2.36", {"python3.10": "3.10"}, GPU="1")[0].startswith("GPU=1 is for TFX 1.21; here it is TFX 1.16")
    assert setup("2.41", {"python3": "3.13"}, GPU="yes")[0] == "GPU is yes; expected 1 or nothing"


@pytest.mark.parametrize(("glibc", "machine"), [("2.28", "x86_64"), ("2.36", "x86_64"), ("2.41", "aarch64")])
def test_where_neither_fits_it_says_how_to_get_either(setup, glibc, machine):
    pythons = {"2.28": {"python3.10": "3.10"}, "2.36": {"python3": "3.11"}, "2.41": {"python3": "3.13"}}[glibc]
    said = "\n".join(setup(glibc, {"python3": "3.11", **pythons}, machine=machine))
    assert f"no lane fits: this machine has {machine}, glibc {glibc}, Python 3.1" in said
    assert "python3-venv python3-dev" in said and "pyenv install 3.10" in said


def test_locks_are_one_a_lane_with_hashes():
    for lane, tensorflow in (("1.21", "2.21"), ("1.16", "2.16"), ("1.21-gpu", "2.21")):
        lock = (HOME / "requirements" / f"tfx-{lane}.txt").read_text()
        assert (
            f"\ntfx=={lane.removesuffix('-gpu')}.0 \\\n    --hash=" in lock and f"\ntensorflow=={tensorflow}." in lock
        )
        assert ("nvidia-cudnn-cu12==" in lock) == lane.endswith("gpu")
        names = [line for line in lock.splitlines() if line and not line.startswith((" ", "#"))]
        assert lock.count("\n    --hash=") >= len(names)
    assert os.access(HOME / ".ci" / "run", os.X_OK)
