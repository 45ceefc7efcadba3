"""A whole run of the pipeline by its command, which tests of ROOTs begin with: it is made once, and moved away."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HOME = Path(__file__).parents[1]
NAME = "a blank, quo'te\"s, {brace}, größe 日本, #%&;$(x)!"  # as folders may be called: it runs there


@dataclass(frozen=True)
class Whole:
    """Its ROOT as it was left, what it said, and what it left in the folders that were TMPDIR and HOME to it."""

    root: Path
    stdout: str
    stderr: str
    left: list[str]

    def copy(self, to: Path) -> Path:
        """Its ROOT, elsewhere."""
        return Path(shutil.copytree(self.root, to, symlinks=True))


def command(data: Path, root: Path, encoder: Path, *arguments: str) -> list[str]:
    return [
        sys.executable, "-m", "pipeline.command", "run", "--data", str(data), "--root", str(root),
        "--config", "tiny", "--set", f"encoder.weights={encoder}", *arguments,
    ]  # fmt: skip


def make(once_for_all: Callable, memes: Path, encoder: Path) -> Whole:
    def run(folder: Path) -> None:
        place, nowhere = folder / NAME, {name: folder / name.lower() for name in ("TMPDIR", "HOME")}
        for empty in nowhere.values():
            empty.mkdir()
        data = Path(shutil.copytree(memes, folder / f"data [1]* {NAME}"))
        environment = {k: v for k, v in os.environ.items() if k != "WANDB_API_KEY"}
        environment |= {name: str(path) for name, path in nowhere.items()}
        done = subprocess.run(
            command(data, place, encoder), capture_output=True, text=True, cwd=HOME, env=environment, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        left = [str(path) for empty in nowhere.values() for path in empty.rglob("*")]
        said = {"stdout": done.stdout, "stderr": done.stderr, "left": left}
        (folder / "said.json").write_text(json.dumps(said))
        place.rename(folder / "root")
        shutil.rmtree(data)

    folder = once_for_all("whole-run", run)
    return Whole(folder / "root", **json.loads((folder / "said.json").read_text()))
