import hashlib
import math
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from memefly.encoders.standardize import Standardizer
from memefly.errors import TrainingError
from memefly.text import PAD_ID
from memefly.training.inputs import batches, count_groups, training_references, validation
from tests.training.toy import VOCABULARY, T, examples_of, write

ONE = {"seed": 0, "pictures": 4, "captions": 3, "groups": 3, "epoch": 0}


@pytest.mark.parametrize("bucket", [0, 1])
def test_every_caption_comes_once_an_epoch(tmp_path, bucket):
    files = write(tmp_path / "t.gz", 10, captions=7)
    examples = examples_of(files, files)
    assert count_groups(examples, 3) == [10, 10, 10]
    rows = [
        row.tobytes()
        for _, tokens, _ in batches(examples, **ONE, bucket=bucket)
        for row in np.pad(tokens.numpy(), [(0, 0), (0, 0), (0, T - tokens.shape[2])]).reshape(-1, T)
        if row.any()
    ]
    expected = [row.tobytes() for row in examples.table.tokens]
    assert sorted(rows) == sorted(expected)


def test_many_captions_of_a_picture_go_by_length_and_are_spread_over_the_epoch(tmp_path):
    """Two templates of 240 captions, a third of which are shorter, and one of six, four at a time."""
    files = write(tmp_path / "t.gz", 2, captions=240) + write(tmp_path / "u.gz", 1, captions=6)
    examples = examples_of(files, files)
    groups = len(count_groups(examples, 4))
    assert groups == 60
    arguments = ONE | {"pictures": 3, "captions": 4, "groups": groups}
    came = list(batches(examples, **arguments, bucket=1))
    lengths = [np.array((t.numpy() != PAD_ID).sum(-1)) for _, t, _ in came]
    mixed = sum(len(set(row[row > 0])) > 1 for batch in lengths for row in batch)
    assert mixed <= 3, "one border between two lengths a picture"
    first_half = np.concatenate([i.numpy() for *_, i in came[: len(came) // 2]])
    shares = [int((first_half == i).sum()) for i in range(3)]
    assert abs(shares[0] - 30) < 8 and abs(shares[1] - 30) < 8
    assert sum(int((lengths_of > 0).sum()) for lengths_of in lengths) == 486
    few = [i for *_, index in batches(examples, **(arguments | {"groups": 1}), bucket=1) for i in index.numpy()]
    assert sorted(few) == [0, 1, 2], "one group of each"


@pytest.mark.slow
def test_parts_are_evenly_spread_and_make_up_the_whole(tmp_path):
    files = write(tmp_path / "t.gz", 60, captions=7)
    examples = examples_of(files, files)
    parts = {}
    for part in ((0.0, 0.75), (0.75, 1.0)):
        seen = [index for *_, index in batches(examples, **ONE, bucket=1, part=part)]
        parts[part] = {int(i) for index in seen for i in index}
        assert count_groups(examples, 3, part) == [len(parts[part])] * 3
        assert sum(len(index) for index in seen) == 3 * len(parts[part])
    first, second = parts.values()
    assert first | second == set(range(60)) and not first & second
    assert all(abs(len({i for i in second if i // 20 == third}) - 5) <= 1 for third in range(3))


def test_a_pictures_longest_captions_come_first(tmp_path):
    files = write(tmp_path / "t.gz", 30, captions=2)  # of five and six tokens, the first of five
    for _, tokens, _ in batches(examples_of(files, files), **ONE):
        assert ((tokens.numpy() != PAD_ID).sum(axis=-1) == [6, 5, 0]).all()


@pytest.mark.slow
def test_order_follows_seed_and_epoch(examples):
    def order(seed, epoch):
        return [f.numpy().tobytes() for f, _, _ in batches(examples, **(ONE | {"seed": seed, "epoch": epoch}))]

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)


@pytest.mark.slow
def test_features_come_with_their_own_captions(tmp_path):
    files = write(tmp_path / "t.gz", 24)
    examples = examples_of(files, files)
    of = {one.shown.tobytes(): set(one.captions) for one in validation(examples, 24)}  # the same files
    for features, tokens, index in batches(examples, **ONE, bucket=1):
        for shown, rows, i in zip(features.numpy(), tokens.numpy(), index.numpy()):
            captions = of[shown.tobytes()]
            assert {VOCABULARY.decode(row) for row in rows if row.any()} == captions
            assert {VOCABULARY.decode(ids) for ids in training_references(examples)[i]} == captions


@pytest.mark.slow
def test_buckets_hold_captions_of_one_length(tmp_path):
    files = write(tmp_path / "t.gz", 30, captions=1)
    files += write(tmp_path / "u.gz", 30, captions=2)  # of five and six tokens, the first of five alone
    examples = examples_of(files, files)
    arguments = ONE | {"captions": 2, "groups": 1}

    def padding(bucket):
        tokens = [t.numpy() for _, t, _ in batches(examples, **arguments, bucket=bucket)]
        longest = [(t != PAD_ID).sum(-1).max(-1) for t in tokens]  # of each picture
        return sum(int((t.shape[2] - n).sum()) for t, n in zip(tokens, longest)), len(tokens)

    assert padding(1)[0] == 0 < padding(0)[0]
    assert padding(1)[1] == 2 * math.ceil(30 / 4)


@pytest.mark.slow
def test_mirrored_pictures_take_their_share(tmp_path):
    files = write(tmp_path / "t.gz", 200, flipped=True)
    examples = examples_of(files, files)
    plain = {one.shown.tobytes() for one in validation(examples, 200)}

    def share(flip, epoch=0):
        shown = [f.tobytes() for b, _, _ in batches(examples, **(ONE | {"epoch": epoch}), flip=flip) for f in b.numpy()]
        return [f not in plain for f in shown]

    assert not any(share(0.0)) and all(share(1.0))
    assert 0.35 < np.mean(share(0.5)) < 0.65
    assert share(0.5, epoch=0) != share(0.5, epoch=1)


def test_standardizer():
    features = np.random.default_rng(0).normal(3, 5, (50, 2, 2, 6)).astype(np.float16)
    features[..., 2] = 1.5
    mean, std = features.astype(np.float64).mean((0, 1, 2)), features.astype(np.float64).std((0, 1, 2))
    out = Standardizer(mean.astype(np.float32), std.astype(np.float32))(features).numpy()
    np.testing.assert_allclose(out.mean((0, 1, 2)), 0, atol=1e-3)
    np.testing.assert_allclose(out.std((0, 1, 2)), [1, 1, 0, 1, 1, 1], atol=1e-3)
    assert math.isclose(float(Standardizer(np.zeros(1), np.ones(1) * 1e-3)(np.ones((1, 1, 1, 1)))[0, 0, 0, 0]), 10.0)


def test_neither_files_nor_their_order_decide_anything(tmp_path):
    """The same Examples in two files, and in one in another order: the same batches to the bit."""
    halves = write(tmp_path / "t.gz", 10, captions=4) + write(tmp_path / "u.gz", 7, captions=2)
    records = list(tf.data.TFRecordDataset(halves, "GZIP").as_numpy_iterator())
    one = tmp_path / "one"
    with tf.io.TFRecordWriter(str(one)) as writer:
        for record in sorted(records, key=lambda record: hashlib.md5(record).digest()):
            writer.write(record)
    examples, other = examples_of(halves, halves), examples_of([str(one)], [str(one)])

    def all_of(of):
        arguments = ONE | {"captions": 2, "groups": 2}
        return [[x.numpy().tobytes() for x in batch] for batch in batches(of, **arguments, bucket=1)]

    assert all_of(examples) == all_of(other) and len(all_of(other)) > 5
    assert [v.image_id for v in validation(examples, 5)] == [v.image_id for v in validation(other, 5)]
    assert training_references(examples) == training_references(other)


def test_an_epoch_goes_on_where_it_was_left(tmp_path):
    files = write(tmp_path / "t.gz", 30, captions=4)
    arguments = ONE | {"captions": 2, "groups": 2}

    def all_of(skip):
        return [[x.numpy().tobytes() for x in b] for b in batches(examples_of(files, files), **arguments, skip=skip)]

    assert all_of(4) == all_of(0)[4:]


def test_features_that_are_gone_or_damaged_stop_it_and_are_made_anew_next_time(tmp_path):
    files = write(tmp_path / "t.gz", 6)
    examples = examples_of(files, files)
    image_id = examples.table.image_ids[2].decode()
    written = examples.store.get(image_id)
    path = examples.store.path(image_id)
    path.write_bytes(path.read_bytes().replace(written.tobytes(), bytes(written.nbytes)))
    with pytest.raises(
        TrainingError, match=f"features of picture {image_id} are gone from .*; run the whole pipeline again"
    ):
        list(validation(examples, 6))
    assert examples.store.get(image_id) is None, "so that who looks sees that it is to be made"


def test_pictures_are_read_where_their_examples_lie(tmp_path):
    files = write(tmp_path / "t.gz", 9, image=lambda what: b"picture %d" % what * 1000)
    examples = examples_of(files, files)
    shown = {one.image_id: one.shown for one in validation(examples, 9, "image")}
    assert len(shown) == 9
    for pictures, _, index in batches(examples, **ONE, source="image"):
        for picture, number in zip(pictures.numpy(), index.numpy()):
            assert picture == shown[examples.table.image_ids[number]] and picture.startswith(b"picture ")
    with pytest.raises(TrainingError, match="picture ff of val is in none of the files of its Examples"):
        examples.images("val", [b"ff"])


_PEAK = """
import os, resource, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
from memefly.training.inputs import batches, count_groups
from tests.training.toy import examples_of
files = [sys.argv[1]] * int(sys.argv[2])
examples = examples_of(files, files, (8, 8, 512))
for epoch in range(2):
    groups = len(count_groups(examples, 3))
    for features, tokens, _ in batches(examples, seed=0, pictures=16, captions=3, groups=groups, epoch=epoch, bucket=2):
        features.numpy().sum()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.once
@pytest.mark.slow
def test_memory_does_not_grow_with_the_data(tmp_path):
    """Sixteen times the data in a process of its own: at most 15 % more resident memory, at its peak."""
    (file,) = write(tmp_path / "t.gz", 400, shape=(8, 8, 512))

    def peak(times: int) -> int:
        done = subprocess.run(
            [sys.executable, "-c", _PEAK, file, str(times)], capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    assert 400 * 8 * 8 * 512 * 2 * 15 > 350 * 2**20, "the data alone would show"
    assert peak(16) < 1.15 * peak(1)
