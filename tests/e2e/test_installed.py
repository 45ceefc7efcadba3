"""memefly as somebody has it who installed a wheel: no checkout at hand, and the lock's environment."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

HOME = Path(__file__).parents[2]
KNOWN = ("ls-files", "--cached", "--others", "--exclude-standard")
UV = [sys.executable, "-m", "uv"]


def call(*command, **how) -> str:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV", "WANDB_API_KEY")}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment, **how)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the sdist of what git knows of, and the wheel that was built from that sdist."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in call("git", *KNOWN, "-z", cwd=HOME).split("\0"):
        if name and (HOME / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(HOME / name, source / name)
    call(*UV, "build", "--no-build-isolation", "--python", sys.executable, "--out-dir", out, source)
    return out


def test_both_hold_all_that_the_packages_hold(built):
    known = call("git", *KNOWN, "memefly", "components", "pipeline", cwd=HOME).split("\n")
    wanted = {name for name in known if name and (HOME / name).is_file()}
    assert {
        "memefly/schemas/captions.pbtxt",
        "memefly/report/templates/report.html",
        "pipeline/presets/demo.yaml",
    } < wanted
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    in_wheel = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert in_wheel == wanted
    with tarfile.open(sdist) as archive:
        in_sdist = {name.partition("/")[2] for name in archive.getnames()}
    assert wanted | {"README.md", "setup.py", "pyproject.toml"} <= in_sdist


def test_a_wheel_goes_from_drawn_memes_to_captions(built, small_encoder, tmp_path):
    environment, elsewhere = tmp_path / "environment", tmp_path / "elsewhere"
    elsewhere.mkdir()
    call(*UV, "venv", "--python", sys._base_executable, environment)
    # What the lock has is where this Python has it. The checkout is not: links to it (*.pth) work in no folder but one
    # of Python's own.
    (packages,) = environment.glob("lib/python3*/site-packages")
    (packages / "lock.pth").write_text(sysconfig.get_path("purelib") + "\n")
    call(*UV, "pip", "install", "--python", environment / "bin" / "python", "--no-deps", *built.glob("*.whl"))

    def memefly(*arguments) -> str:
        return call(environment / "bin" / "memefly", *arguments, cwd=elsewhere)

    where = "import memefly, pipeline, components; print(memefly.__file__, pipeline.__file__, components.__file__)"
    assert all(
        f.startswith(str(environment)) for f in call(environment / "bin" / "python", "-c", where, cwd=elsewhere).split()
    )
    memefly("sample", "data", "--images", 60, "--seed", 1)
    memefly("run", "--data", "data", "--root", "root", "--config", "tiny", "--set", f"encoder.weights={small_encoder}")
    said = json.loads((elsewhere / "root" / "runs" / "latest" / "summary.json").read_text())
    assert said["blessed"] and (elsewhere / said["pushed"] / "saved_model.pb").is_file() and said["git"] == ""
    picture = min((elsewhere / "data" / "images").iterdir())
    captioned = json.loads(memefly("caption", "--json", "--model", "root/serving/captioner", picture))
    assert captioned["captions"][0]["caption"]
    report = elsewhere / "root" / "runs" / "latest" / "report.html"
    report.unlink()
    memefly("report", "--root", "root")
    assert "Blessed and pushed" in report.read_text()
