"""A TFRecord file in chunks that many may read."""

import apache_beam as beam
import pytest
import tensorflow as tf
from apache_beam.testing.util import assert_that, equal_to

from components.image_features import chunks
from components.image_features.chunks import ReadExamples


def write(path, records) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return str(path)


@pytest.mark.parametrize("number", [0, 1, 2, 3, 4, 7])
def test_every_record_is_in_one_chunk(tmp_path, monkeypatch, number):
    monkeypatch.setattr(chunks, "RECORDS", 3)
    records = [bytes([i]) * (i * 100) for i in range(number)]
    path = write(tmp_path / "data", records)
    cut = list(chunks.chunks(("train", path)))
    assert [chunk[3] for chunk in cut] == [3] * (number // 3) + [number % 3] * (number % 3 > 0)
    assert [record for chunk in cut for _, record in chunks._records(chunk)] == records


def test_the_examples_of_all_splits_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(chunks, "RECORDS", 2)
    written = {"train": [b"a", b"bb", b"ccc", b"d", b"e"], "val": [b"f"], "eval": []}
    for split, records in written.items():
        write(tmp_path / split / "one", records[::2])
        write(tmp_path / split / "two", records[1::2])
    with beam.Pipeline() as pipeline:
        read = pipeline | ReadExamples({split: str(tmp_path / split) for split in written})
        assert_that(read, equal_to([(split, record) for split, records in written.items() for record in records]))


def test_what_was_damaged_or_cut_is_told(tmp_path):
    path = write(tmp_path / "data", [b"a" * 100, b"b" * 100])
    content = bytearray((tmp_path / "data").read_bytes())
    content[150] ^= 1
    (tmp_path / "data").write_bytes(content)
    with pytest.raises(tf.errors.DataLossError):
        [record for chunk in chunks.chunks(("train", path)) for record in chunks._records(chunk)]
    content[150] ^= 1
    (tmp_path / "data").write_bytes(content[:-50])
    with pytest.raises(tf.errors.DataLossError, match=r"cut|truncated"):
        [record for chunk in chunks.chunks(("train", path)) for record in chunks._records(chunk)]
    (tmp_path / "data").write_bytes(content[:120])
    with pytest.raises(tf.errors.DataLossError, match=r"cut|truncated|corrupted"):
        [record for chunk in chunks.chunks(("train", path)) for record in chunks._records(chunk)]
