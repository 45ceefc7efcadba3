import os

import numpy as np
import pytest

from memefly.encoders.feature_store import FeatureStore

FEATURES = np.arange(2 * 3 * 4, dtype=np.float16).reshape(2, 3, 4)
ID = "ab" + "0" * 62


@pytest.fixture
def store(tmp_path) -> FeatureStore:
    return FeatureStore(tmp_path, "f" * 64)


def test_round_trip(store):
    assert store.get(ID) is None
    store.put(ID, FEATURES)
    np.testing.assert_array_equal(store.get(ID), FEATURES)
    assert store.get(ID).dtype == np.float16


def test_another_encoder_shares_nothing(store, tmp_path):
    store.put(ID, FEATURES)
    assert FeatureStore(tmp_path, "e" * 64).get(ID) is None


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "shape"])
def test_damaged_entries_count_as_absent(store, damage):
    store.put(ID, FEATURES)
    content = bytearray(store.path(ID).read_bytes())
    if damage == "flip":
        content[-3] ^= 1
    elif damage == "cut":
        del content[-2:]
    elif damage == "empty":
        content.clear()
    else:
        content[4], content[8] = content[8], content[4]  # (3, 2, 4) has as many values
    store.path(ID).write_bytes(content)
    assert store.get(ID) is None
    store.put(ID, FEATURES)
    np.testing.assert_array_equal(store.get(ID), FEATURES)


def test_a_failed_write_leaves_nothing(store, monkeypatch):
    store.put(ID, FEATURES)
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        store.put(ID, FEATURES + 1)
    np.testing.assert_array_equal(store.get(ID), FEATURES)
    assert os.listdir(store.path(ID).parent) == [store.path(ID).name]


def test_wants_float16(store):
    with pytest.raises(ValueError, match="expected float16"):
        store.put(ID, FEATURES.astype(np.float32))
