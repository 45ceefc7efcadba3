import json
from collections import Counter

import pytest
from stress import records as stress

from memefly.datasets import records
from memefly.datasets.records import Line, RecordError
from memefly.datasets.writer import DatasetWriter
from memefly.errors import DataError


def line(**record) -> Line:
    return Line(3, json.dumps(record))


def test_a_record():
    record = records.parse(line(image="images/a.jpg", captions=[" A cat ", "a dog", "A cat"], group="g", split="val"))
    assert record.captions == ("A cat", "a dog")
    assert (record.image, record.group, record.split, record.line) == ("images/a.jpg", "g", "val", 3)


def test_captions_without_words_are_dropped_and_remembered():
    record = records.parse(line(image="a.jpg", captions=["a cat", "...", "", "🐸"], other="ignored"))
    assert record.captions == ("a cat",)
    assert record.dropped == ("...", "", "🐸")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"image": "a.jpg", "captions": ["a"', "broken_json"),
        ("[" * 100_000, "broken_json"),
        ("\ufffd\ufffd", "broken_json"),
        ("[]", "not_a_record"),
        ('{"captions": ["a"]}', "not_a_record"),
        ('{"image": 5, "captions": ["a"]}', "not_a_record"),
        ('{"image": "a.jpg", "captions": ["a"], "split": "dev"}', "not_a_record"),
        ('{"image": "a.jpg"}', "no_captions"),
        ('{"image": "a.jpg", "captions": []}', "no_captions"),
        ('{"image": "a.jpg", "captions": [null]}', "no_captions"),
        ('{"image": "a.jpg", "captions": "a cat"}', "no_captions"),
        ('{"image": "a.jpg", "captions": ["", "!?"]}', "no_captions"),
        ('{"image": "/etc/passwd", "captions": ["a"]}', "bad_path"),
        ('{"image": "../../a.jpg", "captions": ["a"]}', "bad_path"),
        ('{"image": "a\\u0000b.jpg", "captions": ["a"]}', "bad_path"),
    ],
)
def test_bad_lines_have_a_reason(content, reason):
    assert reason in records.REASONS
    with pytest.raises(RecordError, match="line 7") as raised:
        records.parse(Line(7, content))
    assert raised.value.reason == reason


def test_lone_surrogates_do_no_harm():
    assert records.parse(Line(1, '{"image": "a.jpg", "captions": ["a \\ud800 cat"]}')).captions == ("a ? cat",)


def test_a_folder_that_is_no_data_set(tmp_path):
    with pytest.raises(DataError, match="memefly import"):
        list(records.read_lines(tmp_path))
    with pytest.raises(DataError, match="is not a folder"):
        records.fingerprint(tmp_path / "nowhere")


def test_writer_writes_what_parse_reads(tmp_path):
    out = tmp_path / "out"
    with DatasetWriter(out) as writer:
        writer.add("a b.png", b"picture", ["one", "two"], group="g")
        writer.add("a b.png", b"picture", ["three"], group="g", split="eval")
        assert not out.exists()
    parsed = [records.parse(one) for one in records.read_lines(out)]
    assert [p.captions for p in parsed] == [("one", "two"), ("three",)]
    assert (out / parsed[0].image).read_bytes() == b"picture"
    assert (writer.pictures, writer.captions) == (1, 3)


def test_a_writer_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), DatasetWriter(tmp_path / "out") as writer:
        writer.add("a.png", b"1", ["one"])
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_writer_overwrites_nothing(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="not empty"):
        DatasetWriter(tmp_path)
    with pytest.raises(DataError, match="two different pictures"), DatasetWriter(tmp_path / "out") as writer:
        writer.add("a.png", b"1", ["one"])
        writer.add("a.png", b"2", ["one"])


def test_fingerprint_covers_the_pictures(tmp_path):
    out = tmp_path / "out"
    with DatasetWriter(out) as writer:
        writer.add("a.png", b"1", ["one"])
    before = records.fingerprint(out)
    assert records.fingerprint(out) == before
    (out / "images" / "a.png").write_bytes(b"22")
    changed = records.fingerprint(out)
    (out / "images" / "a.png").unlink()
    assert len({before, changed, records.fingerprint(out)}) == 3


def test_whatever_json_holds_is_a_record_or_has_a_reason():
    """`make stress` tries more."""
    found = Counter(stress.outcome(seed) for seed in range(3000))
    assert set(found) == {"right", *records.REASONS} - {"split_conflict"} and found["right"] > 200


def test_half_an_emoji(tmp_path):
    group = '{"image": "a.jpg", "captions": ["x \\ud83d"], "group": "surprised pikachu \\ud83d"}'
    record = records.parse(records.Line(1, group))
    assert record.group == "surprised pikachu ?" and record.captions == ("x ?",)
    image = '{"image": "\\ud83d.jpg", "captions": ["x"]}'
    with pytest.raises(records.RecordError, match="line 2: image must be a path inside the data set") as raised:
        records.parse(records.Line(2, image))
    assert raised.value.reason == "bad_path"


@pytest.mark.parametrize("content", ["9" * 5000, "[" * 100_000, '{"image": ' + "9" * 5000 + "}"])
def test_json_that_python_itself_refuses(content):
    with pytest.raises(records.RecordError, match="line 3") as raised:
        records.parse(records.Line(3, content))
    assert raised.value.reason in ("broken_json", "not_a_record")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_data_set_in_another_encoding(tmp_path, encoding):
    (tmp_path / "captions.jsonl").write_bytes('{"image": "ä.jpg", "captions": ["größer"]}\r\n'.encode(encoding))
    (line,) = records.read_lines(tmp_path)
    assert records.parse(line).image == "ä.jpg"
