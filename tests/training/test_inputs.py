import math
import subprocess
import sys

import numpy as np
import pytest

from memefly.encoders.standardize import Standardizer
from memefly.text import PAD_ID
from memefly.training import Examples
from memefly.training.inputs import batches, count_groups, read, training_references
from tests.training.toy import SHAPE, VOCABULARY, T, write

ONE = {"seed": 0, "pictures": 4, "captions": 3, "groups": 3, "epoch": 0, "shuffle_buffer": 5}


@pytest.mark.parametrize("bucket", [0, 1])
def test_every_caption_comes_once_an_epoch(tmp_path, bucket):
    files = write(tmp_path / "t.gz", 10, captions=7)
    examples = Examples(files, files, SHAPE, T)
    assert count_groups(examples, 3) == [10, 10, 10]
    rows = [
        row.tobytes()
        for _, tokens, _ in batches(examples, **ONE, bucket=bucket)
        for row in np.pad(tokens.numpy(), [(0, 0), (0, 0), (0, T - tokens.shape[2])]).reshape(-1, T)
        if row.any()
    ]
    expected = [row.tobytes() for one in read(files, examples) for row in one["tokens"].numpy()]
    assert sorted(rows) == sorted(expected)


def test_many_captions_of_a_picture_go_by_length_and_are_spread_over_the_epoch(tmp_path):
    """Two templates of 240 captions, a third of which are shorter, and one of six, four at a time."""
    files = write(tmp_path / "t.gz", 2, captions=240) + write(tmp_path / "u.gz", 1, captions=6)
    examples = Examples(files, files, SHAPE, T)
    groups = len(count_groups(examples, 4))
    assert groups == 60
    arguments = ONE | {"pictures": 3, "captions": 4, "groups": groups, "shuffle_buffer": 8}
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
    examples = Examples(files, files, SHAPE, T)
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
    for _, tokens, _ in batches(Examples(files, files, SHAPE, T), **ONE):
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
    examples = Examples(files, files, SHAPE, T)
    of = {one["features"].numpy().tobytes(): one["captions"].numpy() for one in read(files, examples)}
    for features, tokens, index in batches(examples, **ONE, bucket=1):
        for shown, rows, i in zip(features.numpy(), tokens.numpy(), index.numpy()):
            captions = {c.decode() for c in of[shown.tobytes()]}
            assert {VOCABULARY.decode(row) for row in rows if row.any()} == captions
            assert {VOCABULARY.decode(ids) for ids in training_references(examples)[i]} == captions


@pytest.mark.slow
def test_buckets_hold_captions_of_one_length(tmp_path):
    files = write(tmp_path / "t.gz", 30, captions=1)
    files += write(tmp_path / "u.gz", 30, captions=2)  # of five and six tokens, the first of five alone
    examples = Examples(files, files, SHAPE, T)
    arguments = ONE | {"captions": 2, "groups": 1, "shuffle_buffer": 60}

    def padding(bucket):
        tokens = [t.numpy() for _, t, _ in batches(examples, **arguments, bucket=bucket)]
        longest = [(t != PAD_ID).sum(-1).max(-1) for t in tokens]  # of each picture
        return sum(int((t.shape[2] - n).sum()) for t, n in zip(tokens, longest)), len(tokens)

    assert padding(1)[0] == 0 < padding(0)[0]
    assert padding(1)[1] == 2 * math.ceil(30 / 4)


@pytest.mark.slow
def test_mirrored_pictures_take_their_share(tmp_path):
    files = write(tmp_path / "t.gz", 200, flipped=True)
    examples = Examples(files, files, SHAPE, T)
    plain = {one["features"].numpy().tobytes() for one in read(files, examples)}

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


_PEAK = """
import os, resource, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
from memefly.training.inputs import Examples, batches, count_groups
files = [sys.argv[1]] * int(sys.argv[2])
examples = Examples(files, files, (8, 8, 512), 8)
for epoch in range(2):
    groups = len(count_groups(examples, 3))
    for features, tokens, _ in batches(examples, seed=0, pictures=16, captions=3, groups=groups, epoch=epoch, bucket=2,
                                       shuffle_buffer=128):
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
