"""Text files as people bring them."""

import json

import pytest

from memefly import textfile
from memefly.errors import ConfigError, DataError

TEXT = "größer, 日本, 😀\nline two\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_are_found(tmp_path, encoding):
    path = tmp_path / "list.txt"
    path.write_bytes(TEXT.encode(encoding))
    assert textfile.read(path) == TEXT


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "ok\ngrößer\n".encode("latin-1"),
            r"list.txt is not UTF-8: byte 0xf6 in line 2.*iconv -f WINDOWS-1252 -t UTF-8",
        ),
        (TEXT.encode("utf-16-le"), "looks like UTF-16 or UTF-32 without a byte order mark"),
        (b"\xff\xfe\x00\xd8\x00", "list.txt is not UTF-16-LE: byte 0x00 in line 1"),
    ],
)
def test_encodings_are_refused_by_name(tmp_path, content, said):
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=said):
        textfile.read(path)
    with pytest.raises(ConfigError, match=said):
        textfile.read(path, ConfigError)


def test_lines_end_where_people_end_them():
    assert textfile.lines("a\nb\r\nc\rd") == ["a", "b", "c", "d"]
    assert textfile.lines("one\u2028line\x0bof\x85it\x1c\x1d\x1e\x0c\n") == [
        "one\u2028line\x0bof\x85it\x1c\x1d\x1e\x0c"
    ]
    assert textfile.lines("\n\na\n\n") == ["", "", "a", ""] and textfile.lines("") == []


def test_json_of_what_utf_8_has_no_bytes_for():
    value = {"half": "a \ud83d", "name": "\udcff", "whole": "😀 é"}
    said = textfile.to_json(value)
    assert "😀 é" in said and json.loads(said.encode("utf-8")) == value


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000, "{", "", "nul"])
def test_json_that_is_none(text):
    with pytest.raises(ValueError) as raised:  # on Python 3.10.6 and earlier a long number is one
        assert textfile.from_json(text) != 9
        raise ValueError("it is a number")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_stream_has_the_lines_of_the_whole(tmp_path, encoding):
    said = "one\r\ntwo\u2028still two\rthree\x0b\n\nfünf"
    (tmp_path / "list.txt").write_bytes(said.encode(encoding))
    assert list(textfile.stream(tmp_path / "list.txt")) == textfile.lines(textfile.read(tmp_path / "list.txt"))


def test_a_stream_names_the_line_that_is_none(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(b"good\n" * 20_000 + b"caf\xe9\n" + b"good\n" * 20_000)
    with pytest.raises(DataError, match=r"list\.txt is not UTF-8: byte 0xe9 in line 20001"):
        list(textfile.stream(path))
    assert len(list(textfile.stream(path, errors="replace"))) == 40_001
    path.write_bytes("no mark".encode("utf-16-le"))
    with pytest.raises(DataError, match="without a byte order mark"):
        list(textfile.stream(path))
