"""Formats by name, by what they look like, and of other packages; imgflip's in particular."""

import importlib.metadata
import json
import os

import pytest

from memefly.commands import main as cli
from memefly.datasets import formats, records
from memefly.errors import DataError, UsageError


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "imgflip"
    (folder / "captions").mkdir(parents=True)
    (folder / "images").mkdir()
    for slug in ("frog", "fry"):
        (folder / "images" / f"{slug}.jpg").write_bytes(slug.encode())
    frog = [{"boxes": [f"That's {n}.", "", f"None of my business {n}"], "votes": n} for n in range(40)]
    lines = [
        *map(json.dumps, frog),
        '{"boxes": ["that\'s 1", "NONE of my business 1!"]}',  # as one above, but for case and stops
        "",
        '{"boxes": [""]}',
        '{"boxes": "no list"}',
        '{"boxes": [3]}',
        "half a line {",
    ]
    (folder / "captions" / "frog.jsonl").write_text("\n".join(lines))
    (folder / "captions" / "fry.jsonl").write_bytes('\ufeff{"boxes": ["not sure if é"]}\r\n'.encode())
    (folder / "captions" / "latin.jsonl").write_bytes('{"boxes": ["caf\u00e9"]}'.encode("latin-1"))
    listed = [
        {"slug": "frog", "name": "Kermit", "image": "images/frog.jpg", "captions": 42},
        {"slug": "fry", "name": "Futurama Fry", "image": "images/fry.jpg"},
        {"slug": "gone", "name": "Gone", "image": "images/gone.jpg"},
        {"slug": "../frog", "name": "Outside", "image": "images/frog.jpg"},
        {"slug": "frog", "name": "Elsewhere", "image": "../frog.jpg"},
        {"slug": "latin", "name": "Latin", "image": "images/frog.jpg"},
        {"name": "No slug"},
        "no template",
    ]
    (folder / "templates.json").write_text(json.dumps(listed))
    return folder


def read(out) -> list[records.Record]:
    return [records.parse(line) for line in records.read_lines(out)]


def test_imgflip(source, tmp_path):
    written = formats.bring("imgflip", source, tmp_path / "out")
    found = read(tmp_path / "out")
    frog = [record for record in found if record.group == "Kermit"]
    assert {record.split for record in frog} == {"train", "val", "eval"} and written.pictures == 2
    said = [caption for record in frog for caption in record.captions]
    assert sorted(said) == sorted(f"That's {n}.\nNone of my business {n}" for n in range(40)), "each once, as written"
    assert [r.captions for r in found if r.group == "Futurama Fry"] == [("not sure if é",)]
    assert [(e["source"], e["line"], e["reason"]) for e in written.left_out] == [
        ("frog.jsonl", 41, "duplicate"), ("frog.jsonl", 43, "no_words"), ("frog.jsonl", 44, "not_a_caption"),
        ("frog.jsonl", 45, "not_a_caption"), ("frog.jsonl", 46, "broken_json"),
        ("templates.json", 2, "missing_picture"),
        ("templates.json", 3, "bad_path"), ("templates.json", 4, "bad_path"), ("templates.json", 5, "no_captions"),
        ("templates.json", 6, "not_a_template"), ("templates.json", 7, "not_a_template"),
    ]  # fmt: skip
    assert (tmp_path / "out" / records.QUARANTINE).is_file()


@pytest.mark.parametrize(
    ("content", "said"), [("{}", "a list of templates"), ("[", "is not JSON"), ("[]", "nothing to")]
)
def test_imgflip_without_templates(source, tmp_path, content, said):
    (source / "templates.json").write_text(content)
    with pytest.raises(DataError, match=said):
        formats.bring("imgflip", source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("disks", [1, 2])
def test_pictures_are_linked_where_asked_for(source, tmp_path, monkeypatch, disks):
    if disks == 2:

        def link(*_):
            raise OSError(18, "Invalid cross-device link")

        monkeypatch.setattr(os, "link", link)
    formats.bring("imgflip", source, tmp_path / "out", link=True)
    picture = tmp_path / "out" / "images" / "frog.jpg"
    assert picture.samefile(source / "images" / "frog.jpg") and picture.is_symlink() == (disks == 2)
    formats.bring("imgflip", source, tmp_path / "copied")
    assert not (tmp_path / "copied" / "images" / "frog.jpg").samefile(picture)


def test_a_source_is_recognised_by_its_files(source, tmp_path, capsys):
    assert cli.main(["import", str(source), "--out", str(tmp_path / "out"), "--limit", "1"]) == 0
    said = capsys.readouterr()
    assert f"{source} looks like imgflip" in said.err and said.out.startswith("1 pictures with 40 captions")
    (tmp_path / "memes.json").write_text("[]")
    assert formats.recognise(tmp_path) == formats.recognise(tmp_path / "memes.json") == "memefly"
    (source / "memes.json").write_text("[]")
    with pytest.raises(UsageError, match=r"could be memefly or imgflip; say which: memefly import FORMAT"):
        formats.recognise(source)
    with pytest.raises(UsageError, match="looks like none of the formats known"):
        formats.recognise(source / "images")
    with pytest.raises(UsageError, match="is not there"):
        formats.recognise(source / "nowhere")


def test_other_packages_bring_their_own(monkeypatch, tmp_path, capsys):
    def convert(source, writer, limit, tone="dry"):
        writer.add("a.png", b"a", [f"a {tone} caption"])

    point = importlib.metadata.EntryPoint("theirs", "their.module:convert", formats.GROUP)
    monkeypatch.setattr(importlib.metadata.EntryPoint, "load", lambda self: convert)
    monkeypatch.setattr(formats, "entry_points", lambda group: [point] if group == formats.GROUP else [])
    assert cli.main(["import", "theirs", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    assert [record.captions for record in read(tmp_path / "out")] == [("a dry caption",)]
    command = ["import", "theirs", str(tmp_path), "--out", str(tmp_path / "no"), "--image-column", "x"]
    assert cli.main(command) == 2 and "--image-column is not for theirs" in capsys.readouterr().err
    assert cli.main(["import", "nobody's", str(tmp_path), "--out", str(tmp_path / "more")]) == 2
    assert (
        'no format "nobody\'s"; known are beside, coco, flickr30k, flickr8k, imgflip, imgflip575k'
        in capsys.readouterr().err
    )
