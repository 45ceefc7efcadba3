"""`memefly caption` where a model has nothing that may be said, and where it draws."""

import json

import pytest
from PIL import Image

from memefly.commands import main as cli
from memefly.commands import models
from memefly.exported import loading
from memefly.exported.captions import Caption


class Says:
    """A model that may say something of the first picture alone."""

    knobs: dict

    def caption(self, pictures, **knobs):
        Says.knobs = knobs
        return [[Caption("a cat", -0.5)], *([] for _ in pictures[1:])]


MANIFEST = {"config": {"decoding": {"temperature": 0.0}}, "signatures": ["decode"]}
DRAWS = {**MANIFEST, "config": {"decoding": {"temperature": 0.9}}}


@pytest.fixture
def command(monkeypatch, tmp_path):
    monkeypatch.setattr(models, "newest_version", lambda folder: folder)
    monkeypatch.setattr(models, "read_manifest", lambda folder: MANIFEST)
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


def test_a_model_that_draws_says_its_seed_and_draws_anew(command, monkeypatch, capsys):
    assert cli.main(command) == 1 and Says.knobs == {}, "one that searches has none"
    assert "seed" not in capsys.readouterr().out
    monkeypatch.setattr(models, "read_manifest", lambda folder: DRAWS)
    seeds = set()
    for _ in range(3):
        cli.main(command)
        records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert all(record["seed"] == Says.knobs["seed"] for record in records)
        seeds.add(Says.knobs["seed"])
    assert len(seeds) == 3
    cli.main([argument for argument in command if argument != "--json"])
    assert f"drawn with --decode seed={Says.knobs['seed']}" in capsys.readouterr().err
    cli.main([*command, "--decode", "seed=7"])
    assert Says.knobs == {"seed": 7} and '"seed"' not in capsys.readouterr().out, "it was given"
    cli.main([*command, "--decode", "temperature=0"])
    assert "seed" not in Says.knobs
    monkeypatch.setattr(models, "read_manifest", lambda folder: {"config": DRAWS["config"]})
    cli.main(command)
    assert Says.knobs == {}, "a model for LiteRT has no knobs"


def test_a_picture_that_cannot_be_read_is_wrong_use_all_the_same(command, tmp_path):
    assert cli.main([*command, str(tmp_path / "gone.png")]) == 2
