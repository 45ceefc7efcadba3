import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from memefly.commands import main as cli
from memefly.commands import parser
from memefly.commands.main import FAMILIES
from pipeline import command

HOME = Path(__file__).parents[2]
PARSER = parser.build([*FAMILIES, command.add])
(_SUB,) = (action for action in PARSER._actions if isinstance(action, argparse._SubParsersAction))
COMMANDS = tuple(_SUB.choices)


def memefly(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "pipeline.command", *arguments], capture_output=True, text=True, cwd=HOME
    )


def test_help_lists_the_commands_and_loads_nothing_heavy():
    done = memefly("--help")
    assert done.returncode == 0
    assert all(re.search(rf"^    {name}\s", done.stdout, re.MULTILINE) for name in COMMANDS)
    assert "exit status: 0 done" in done.stdout
    code = (
        "import sys\nfrom pipeline import command\ntry:\n    command.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "assert not {'tensorflow', 'tfx', 'numpy', 'pydantic', 'wandb'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=HOME, capture_output=True)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_examples_and_is_in_the_readme(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main([name, "--help"])
    assert stopped.value.code == 0
    assert f"memefly {name}" in capsys.readouterr().out.partition("examples:")[2]
    assert f"memefly {name}" in (HOME / "README.md").read_text(encoding="utf-8")


def test_wrong_use_is_2():
    assert memefly().returncode == 2
    assert memefly("sample", "/tmp/x", "--images", "0").returncode == 2
    assert "expected a whole number from 1" in memefly("sample", "/tmp/x", "--images", "0").stderr


def test_the_gate_of_a_root_is_no_evaluation_of_a_model(tmp_path, capsys):
    """What only one of the two takes is refused by the other; and without a pipeline there is no gate."""
    root = ["evaluate", "--root", str(tmp_path), "--data", str(tmp_path)]
    assert command.main([*root, "--beam", "3"]) == 2
    assert "--beam is for --model alone" in capsys.readouterr().err
    assert cli.main(root) == 2
    assert "pip install 'memefly[pipeline]'" in capsys.readouterr().err
    assert cli.main(["evaluate", "--model", "m", "--data", "d", "--set", "training.epochs=2"]) == 2
    assert "a model knows its own configuration" in capsys.readouterr().err


def test_sample_and_a_folder_that_is_taken(tmp_path, capsys):
    assert cli.main(["sample", str(tmp_path / "s"), "--images", "3"]) == 0
    assert "3 memes with 15 captions" in capsys.readouterr().out
    assert cli.main(["sample", str(tmp_path / "s"), "--images", "3"]) == 2
    assert "already there and not empty" in capsys.readouterr().err


def test_import_of_what_is_not_there(tmp_path, capsys):
    assert cli.main(["import", "flickr8k", str(tmp_path), "--out", str(tmp_path / "o")]) == 2
    assert "is neither Flickr8k nor Flickr30k" in capsys.readouterr().err


def test_import_takes_no_share_of_what_has_none(tmp_path, capsys):
    command = ["import", "memefly", str(tmp_path), "--out", str(tmp_path / "o"), "--val", "0.1"]
    assert cli.main(command) == 2
    assert "--val is not for memefly" in capsys.readouterr().err


def test_caption_without_a_model(tmp_path, capsys):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    assert cli.main(["caption", "--model", str(tmp_path), str(tmp_path / "a.png")]) == 2
    assert "is not a model of memefly" in capsys.readouterr().err


def test_report_without_a_run(tmp_path, capsys):
    assert cli.main(["report", "--root", str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err


@pytest.mark.once
@pytest.mark.slow  # imports TFX
def test_run_reports_what_is_wrong_and_returns_2(tmp_path):
    done = memefly("run", "--data", str(tmp_path), "--root", str(tmp_path / "r"), "--set", "training.epoch=3")
    assert done.returncode == 2
    assert "training.epoch is no key; known are epochs, max_steps" in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads("[]") == list((tmp_path / "r" / "runs").glob("*"))


@pytest.mark.parametrize("command", ["run", "sweep"])
def test_a_root_that_is_a_file_is_one_line(tmp_path, capsys, command):
    from pipeline import command as pipeline_command

    (tmp_path / "file").write_text("mine")
    more = ["--space", "space.yaml"] if command == "sweep" else []
    assert pipeline_command.main([command, "--data", "d", "--root", str(tmp_path / "file"), *more]) == 2
    said = capsys.readouterr().err
    assert "a folder is wanted there" in said and said.count("\n") == 1
