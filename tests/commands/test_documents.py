"""Every command that README and docs show is one: its parser takes it. What ends in seconds is run."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from memefly.commands import parser
from memefly.commands.main import FAMILIES
from pipeline import command

HOME = Path(__file__).parents[2]
DOCUMENTS = sorted([*HOME.glob("*.md"), *HOME.glob("docs/*.md"), *HOME.glob("deploy/*.md")])


def whole(lines) -> list[str]:
    """Those that leave nothing out: no synopsis, no bare name of a command."""
    found = [" ".join(line.split("  #")[0].split()) for line in lines]
    return [line for line in found if re.match(r"memefly \S+ ", line) and not re.search(r"[\[|…]", line)]


def blocks(document: Path) -> list[str]:
    """The lines of code blocks that call `memefly`."""
    found = re.findall(r"^```\w*\n(.*?)^```", document.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return whole(line.strip() for block in found for line in block.replace("\\\n", " ").splitlines())


def inline(document: Path) -> list[str]:
    """What calls it between backticks, mostly in part: `memefly export --precision bf16`."""
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return whole(re.findall(r"`(memefly [^`]*)`", text))


WHERE = {document.relative_to(HOME).as_posix().replace("/", "-"): document.relative_to(HOME) for document in DOCUMENTS}
ALL = [
    (name, line) for name, path in WHERE.items() for line in dict.fromkeys(blocks(HOME / path) + inline(HOME / path))
]


def arguments(line: str) -> list[str]:
    return shlex.split(line)[1:]


def test_there_are_some():
    assert len(ALL) >= 15 and {"README.md", "deploy-README.md"} <= {name for name, _ in ALL}


@pytest.mark.parametrize(("document", "line"), ALL)
def test_the_parser_takes_it(document, line, capsys):
    try:
        parser.build([*FAMILIES, command.add]).parse_args(arguments(line))
    except SystemExit:
        said = capsys.readouterr().err
        fragment = line not in blocks(HOME / WHERE[document]) and re.search(
            r"are required:|expected one argument", said
        )
        assert fragment, f"{document}: {line}\n{said}"


@pytest.mark.parametrize(("document", "line"), ALL)
def test_a_wrong_argument_is_not_taken(document, line, capsys):
    with pytest.raises(SystemExit):
        parser.build([*FAMILIES, command.add]).parse_args([*arguments(line), "--no-such-argument"])


def test_those_that_end_in_seconds_run(tmp_path):
    for line in ("memefly --version", "memefly --help", f"memefly sample {tmp_path / 'memes'} --images 3 --seed 0"):
        done = subprocess.run(
            [sys.executable, "-m", "pipeline.command", *arguments(line)], cwd=HOME, capture_output=True
        )
        assert done.returncode == 0, line
    targets = set(re.findall(r"^([a-z]+):", (HOME / "Makefile").read_text(), re.MULTILINE))
    for document in DOCUMENTS:
        called = set(re.findall(r"`make ([a-z]+)|^make ([a-z]+)", document.read_text(), re.MULTILINE))
        assert {a or b for a, b in called} <= targets, document.name
