"""`memefly caption` where a model has nothing that may be said."""

import json

import pytest
from PIL import Image

from memefly.commands import main as cli
from memefly.commands import models
from memefly.exported import loading
from memefly.exported.captions import Caption


class Says:
    """A model that may say something of the first picture alone."""

    def caption(self, pictures, **knobs):
        return [[Caption("a cat", -0.5)], *([] for _ in pictures[1:])]


@pytest.fixture
def command(monkeypatch, tmp_path):
    monkeypatch.setattr(models, "newest_version", lambda folder: folder)
    monkeypatch.setattr(loading, "load", lambda folder: Says())
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    return ["caption", "--model", str(tmp_path), "--json", str(tmp_path / "a.png"), str(tmp_path / "b.png")]


def test_what_may_not_be_said_is_told_beside_what_may(command, capsys):
    assert cli.main(command) == 1
    said, told = capsys.readouterr()
    first, second = map(json.loads, said.splitlines())
    assert [c["caption"] for c in first["captions"]] == ["a cat"] and "error" not in first
    assert second["captions"] == [] and second["reason"] == "unsafe"
    assert told.count("none of the captions found may be said") == 1


def test_a_picture_that_cannot_be_read_is_wrong_use_all_the_same(command, tmp_path):
    assert cli.main([*command, str(tmp_path / "gone.png")]) == 2
