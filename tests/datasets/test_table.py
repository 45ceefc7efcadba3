"""Tables of one's own: CSV, TSV, JSON Lines, and folders in the convention of imagefolder."""

import json

import pytest

from memefly.commands import main as cli
from memefly.datasets import formats, records
from memefly.datasets.formats import bring
from memefly.errors import DataError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name in ("a.png", "b.png", "deep/a.png"):
        (tmp_path / "in" / name).write_bytes(name.encode())
    return tmp_path / "in"


def read(out) -> list[tuple[str, tuple[str, ...], str, str]]:
    found = [records.parse(line) for line in records.read_lines(out)]
    return [(record.image, record.captions, record.group, record.split) for record in found]


def left_out(writer) -> list[tuple[int, str]]:
    return [(entry["line"], entry["reason"]) for entry in writer.left_out]


def test_csv_as_people_write_it(folder, tmp_path):
    (folder / "metadata.csv").write_bytes(
        "\ufefffile_name, text ,split,group\r\n"
        'a.png,"A cat, ""Tom"", sits\r\non two lines",train,cats\r\n'
        "b.png,a dog,Validation,\r\n"
        "deep/a.png,another,,\r\n"
        "gone.png,x,,\r\n"
        ",x,,\r\n"
        "a.png,,,\r\n"
        "a.png,x,holdout,\r\n"
        "b.png\r\n"
        "a.png,the cat again,train,cats,more\r\n".encode()
    )
    writer = bring("table", folder, tmp_path / "out")
    assert read(tmp_path / "out") == [
        ("images/a.png", ('A cat, "Tom", sits on two lines',), "cats", "train"),
        ("images/b.png", ("a dog",), "", "val"),
        ("images/a-2.png", ("another",), "", ""),  # of another folder, and another picture
        ("images/a.png", ("the cat again",), "cats", "train"),
    ]
    assert left_out(writer) == [
        (6, "missing_picture"), (7, "not_a_record"), (8, "no_captions"), (9, "not_a_split"), (10, "not_text"),
    ]  # fmt: skip
    assert "line 6: no picture gone.png: No such file" in writer.left_out[0]["detail"]


def test_tabs_and_named_columns(folder, tmp_path):
    (folder / "mine.tsv").write_text("id\tphoto\ttitle it has\n7\ta.png\ta cat, sitting\n", "utf-16")
    command = ["import", str(folder / "mine.tsv"), "--out", str(tmp_path / "out")]
    assert cli.main([*command, "--image-column", "photo", "--caption-column", "title it has"]) == 0
    assert read(tmp_path / "out") == [("images/a.png", ("a cat, sitting",), "", "")]


def test_json_lines_with_lists_and_boxes(folder, tmp_path):
    lines = [
        {"image": "a.png", "captions": ["one", ["top", "bottom"]], "split": "eval"},
        {"image": "b.png", "captions": [["top", 3]]},
        {"image": "b.png", "captions": []},
        {"image": 3, "captions": ["x"]},
        {"captions": ["x"]},
        ["no object"],
        {"image": "b.png", "captions": "two"},
    ]
    (folder / "mine.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n{\n\n")
    writer = bring("table", folder / "mine.jsonl", tmp_path / "out")
    assert read(tmp_path / "out") == [
        ("images/a.png", ("one", "top\nbottom"), "", "eval"),
        ("images/b.png", ("two",), "", ""),
    ]
    assert left_out(writer) == [
        (2, "not_text"), (3, "no_captions"), (4, "not_a_record"), (5, "not_a_record"), (6, "not_a_record"),
        (8, "broken_json"),
    ]  # fmt: skip


def test_limit_counts_rows_that_can_be_used(folder, tmp_path):
    (folder / "metadata.csv").write_text("file_name,text\ngone.png,x\na.png,one\nb.png,two\na.png,three\n")
    assert bring("table", folder, tmp_path / "out", limit=2).captions == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "file_name,words\na.png,x\n",
            r"no column that could be the caption \(.*it has file_name, words\. Name it: --capt",
        ),
        ("a,text\n", "no column that could be the image"),
        ("", "it has none"),
        ("file_name,text\n", "nothing to import: the source is empty"),
        ("file_name,text\na.png,caf\udce9\n", r"metadata\.csv is not UTF-8: byte 0xe9 in line 2"),
        ('file_name,text\na.png,"' + "x" * 200_000, r"line 1: field larger than field limit"),
    ],
)
def test_what_is_no_such_table(folder, tmp_path, content, said):
    (folder / "metadata.csv").write_text(content, "utf-8", "surrogateescape")
    with pytest.raises(DataError, match=said):
        bring("table", folder, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))


def test_a_column_that_is_not_there(folder, tmp_path):
    (folder / "metadata.csv").write_text("file_name,text\n")
    with pytest.raises(DataError, match="has no column 'photo'; it has file_name, text"):
        bring("table", folder, tmp_path / "out", options={"image_column": "photo"})
    with pytest.raises(DataError, match=r"nowhere\.csv cannot be read"):
        bring("table", folder / "nowhere.csv", tmp_path / "out")


def test_tables_are_recognised(folder):
    (folder / "metadata.jsonl").write_text("")
    (folder / "mine.TSV").write_text("")
    assert formats.recognise(folder) == formats.recognise(folder / "mine.TSV") == "table"
