import json

import pytest

from memefly.datasets.splits import HELD_OUT, Splitting, split_of
from memefly.errors import DataError

SHARES = {"train": 8, "val": 1, "eval": 1}


def test_splits_follow_the_picture_and_the_shares():
    ids = [f"{i:064x}" for i in range(4000)]
    sides = [split_of(i, SHARES) for i in ids]
    assert sides == [split_of(i, SHARES) for i in ids]
    assert sides.count("train") == pytest.approx(3200, abs=100)
    assert sides.count("val") == pytest.approx(400, abs=70)
    assert sides == [split_of(i, dict(sorted(SHARES.items()))) for i in ids], "as JSON may order them"
    assert {split_of(i, {"train": 1, "val": 0.0001}) for i in ids[:50]} == {"train"}


def test_a_group_that_is_held_out_only_judges(tmp_path):
    lines = [
        {"image": f"{n}.jpg", "captions": ["a cat"], "group": group, "split": split}
        for n, (group, split) in enumerate(
            [("fry", "train"), ("fry", "val"), ("fry", "eval"), ("fry", "test"), ("doge", "train"), ("doge", "eval")]
        )
    ]
    lines.append({"image": "6.jpg", "captions": ["a cat"], "group": "fry"})
    (tmp_path / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    sides = {"train", "val", "eval", "test", HELD_OUT}

    def parted(*groups):
        return [split for split, _ in Splitting(None, groups).of(tmp_path, sides)]

    assert parted("fry") == [HELD_OUT, HELD_OUT, "eval", "test", "train", "eval", "eval"]
    assert parted("fry", "doge") == [HELD_OUT, HELD_OUT, "eval", "test", HELD_OUT, "eval", "eval"]
    with pytest.raises(DataError, match="line 7 names no split, and the model does not say"):
        parted()


def test_a_model_says_how_its_data_was_parted():
    assert Splitting.of_model({"splits": SHARES, "hold_out_groups": ["fry"]}) == Splitting(SHARES, ("fry",))
    assert Splitting.of_model({}) == Splitting(), "one of before there were groups held out"
