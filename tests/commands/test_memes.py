import json
import re

import pytest
from PIL import Image

from memefly.commands import main as cli
from memefly.datasets import sample


@pytest.fixture
def folder(tmp_path):
    """Two drawn pictures, and a template of one of them."""
    sample.generate(tmp_path / "data", images=2, seed=5)
    for i, path in enumerate(sorted((tmp_path / "data" / "images").iterdir())):
        path.rename(tmp_path / f"scene-{i}.png")
    (tmp_path / "drawn.yaml").write_text(
        "name: Drawn Thing\npicture: scene-1.png\nboxes: [{x: 0, y: 0, width: 1, height: 0.3}]\n"
    )
    return tmp_path


def meme(*arguments) -> int:
    return cli.main(["meme", *map(str, arguments)])


def test_words_of_ones_own(folder, capsys):
    out = folder / "out.jpg"
    words = ["--text", "one does not simply", "--text", "walk into mordor"]
    assert meme(folder / "scene-0.png", "--out", out, *words) == 0
    assert capsys.readouterr().out == f"{out}: one does not simply / walk into mordor\n"
    with Image.open(out) as image:
        assert (image.format, image.size) == ("JPEG", (256, 256))
    assert meme(folder / "scene-0.png", "--out", out, "--text", "i had fun once. it was awful", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert [one["text"] for one in said["texts"]] == ["i had fun once.", "it was awful"]
    assert said["alt"] == "Meme: i had fun once. / it was awful" and said["width"] == 256


def test_of_a_template_and_into_a_folder(folder, capsys):
    assert (
        meme("--templates", folder, "--template", "drawn", "--out", f"{folder}/new/", "--text", "hm", "--size", 512)
        == 0
    )
    with Image.open(folder / "new" / "drawn-1.png") as image:
        assert image.size == (512, 512)
    assert cli.main(["template", "--templates", str(folder), "--search", "thing"]) == 0
    assert re.search(r"^drawn +1 text boxes  Drawn Thing$", capsys.readouterr().out, re.MULTILINE)


def test_what_cannot_be_is_told_and_the_others_are_made(folder, capsys):
    (folder / "no.png").write_bytes(b"nothing")
    assert meme(folder / "no.png", folder / "scene-0.png", "--out", folder / "m.png", "--text", "hm ᚠ") == 2
    told = capsys.readouterr()
    assert (folder / "m-scene-0-1.png").is_file() and "no.png: not a picture" in told.err
    assert "no font has 'ᚠ'; left out" in told.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a.png", "--out", "x.png"], "expected --text with words of your own, or --model"),
        (["--out", "x.png", "--text", "a"], "expected pictures, or --template"),
        (["a.png", "--out", "x.svg", "--text", "a"], "expected a name that ends in .png"),
        (["a.png", "--out", "x.png", "--text", "a", "--n", "2"], "--n is for --model"),
        (["a.png", "--out", "x.png", "--text", "a", "--size", "9"], "expected 64 to 4096 pixels, got 9"),
        (["scene-0.png", "--out", "x.png", *["--text", "a"] * 3], "3 times --text for the 2 text boxes"),
        (["scene-0.png", "--out", "x.png", "--text", "a" * 501], "--text of 501 characters; a box takes 500"),
        (["--template", "gone", "--templates", ".", "--out", "x.png", "--text", "a"], "no template 'gone'"),
        (["--template", "drawn", "--out", "x.png", "--text", "a"], "--template wants --templates DIR"),
        (["scene-0.png", "--out", "x.png", "--model", "."], "is not a model of memefly"),
    ],
)
def test_wrong_use(folder, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(folder)
    assert meme(*arguments) == 2
    assert said in capsys.readouterr().err
    assert not (folder / "x.png").exists()


@pytest.mark.slow
@pytest.mark.once
def test_words_of_a_model(folder, exported, capsys):
    out = f"{folder}/memes/"
    assert (
        meme(folder / "scene-0.png", folder / "scene-1.png", "--out", out, "--model", exported, "--n", 2, "--json") == 0
    )
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["meme"].rpartition("/")[2] for one in said] == [f"scene-{i}-{k}.png" for i in (0, 1) for k in (1, 2)]
    words = [" ".join(text["text"] for text in one["texts"]).strip() for one in said]
    assert all(words) and words[0] != words[1]
    assert cli.main(["caption", "--model", str(exported), "--beam", "2", "--json", str(folder / "scene-0.png")]) == 0
    (record,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert [" ".join(c["caption"].split()) for c in record["captions"]] == words[:2]
    first = ["--model", exported, "--begin", "grumpy zebra\\n", "--json"]
    assert meme(folder / "scene-0.png", "--out", folder / "b.png", *first) == 0
    (begun,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert " ".join(one["text"] for one in begun["texts"]).startswith("grumpy zebra ")
    marked, plain = folder / "memes" / "scene-0-1.png", folder / "plain.png"
    assert meme(folder / "scene-0.png", "--out", plain, "--model", exported, "--no-mark") == 0
    assert plain.read_bytes() != marked.read_bytes()
