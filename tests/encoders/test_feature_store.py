import os
import threading

import numpy as np
import pytest

from memefly.encoders import eight_bits, packs
from memefly.encoders.feature_store import FeatureStore

FEATURES = np.arange(2 * 3 * 4, dtype=np.float16).reshape(2, 3, 4)
ID, OTHER = "ab" + "0" * 62, "cd" + "0" * 62


@pytest.fixture(autouse=True)
def lists_are_read_often(monkeypatch):
    monkeypatch.setattr(packs, "_FRESH", 0.02)


@pytest.fixture
def store(tmp_path) -> FeatureStore:
    return FeatureStore(tmp_path, "f" * 64)


def test_round_trip(store):
    assert store.get(ID) is None
    store.put(ID, FEATURES)
    np.testing.assert_array_equal(store.get(ID), FEATURES)
    assert store.get(ID).dtype == np.float16


def test_eight_bits_take_half_and_are_read_by_anybody(tmp_path):
    rng = np.random.default_rng(0)
    features = np.maximum(rng.standard_normal((8, 8, 64)), 0).astype(np.float16)
    store, anybody = FeatureStore(tmp_path, "f" * 64, "uint8"), FeatureStore(tmp_path, "f" * 64)
    store.put(ID, features)
    found = anybody.get(ID)
    assert found.tobytes() == eight_bits.unpack(eight_bits.pack(features), features.shape).tobytes()
    assert store.path(ID).stat().st_size == 32 + 4 * 64 + 8 * 8 * 64
    content = bytearray(store.path(ID).read_bytes())
    content[40] ^= 1  # of a channel's least value
    store.path(ID).write_bytes(content)
    assert anybody.get(ID) is None
    store.put(ID, features)
    assert store.compact() == 1 and anybody.get(ID).tobytes() == found.tobytes()


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


@pytest.mark.parametrize("damage", [lambda content: content[:-1] + b"?", lambda content: content[:-2], lambda _: b""])
def test_what_is_damaged_in_a_pack_counts_as_absent_and_is_replaced(store, damage):
    store.put(ID, FEATURES)
    store.put(OTHER, FEATURES + 1)
    assert store.compact() == 1 and not list(store.alone()) and sorted(store.keys()) == [ID, OTHER]
    np.testing.assert_array_equal(store.get(OTHER), FEATURES + 1)
    (pack,) = store.folder.rglob("*.pack")
    pack.write_bytes(damage(pack.read_bytes()))
    assert store.get(OTHER) is None and store.has(OTHER)
    store.put(OTHER, FEATURES + 2)
    np.testing.assert_array_equal(store.get(OTHER), FEATURES + 2)
    store.compact()
    np.testing.assert_array_equal(store.get(OTHER), FEATURES + 2)
    assert store.discard([ID, OTHER, "0" * 64]) >= 1 and not list(store.keys())


def test_what_is_put_twice_is_packed_once(store):
    store.put(ID, FEATURES)
    store.compact()
    store.put(ID, FEATURES)
    assert list(store.keys()) == [ID] and store.compact() == 1
    assert list(store.keys()) == [ID] and store.size() < 250 and not list(store.alone())


def test_a_killed_compaction_loses_nothing(store, monkeypatch):
    for i in range(20):
        store.put(f"{i:02x}" * 32, FEATURES + i)
    monkeypatch.setattr("memefly.encoders.packs.Pack.remove", lambda pack: 1 / 0)
    store.compact(size=300)
    store.put("ff" * 32, FEATURES)
    with pytest.raises(ZeroDivisionError):  # when what was packed before is to be removed
        store.compact(size=600)
    again = FeatureStore(store.folder.parent, store.folder.name)
    assert len(list(again.keys())) == 21
    for i in range(20):
        np.testing.assert_array_equal(again.get(f"{i:02x}" * 32), FEATURES + i)
    monkeypatch.undo()
    again.compact()
    assert len(list(again.keys())) == 21 and len(again.packs.all()) == 1


def test_wants_float16(store):
    with pytest.raises(ValueError, match="expected float16"):
        store.put(ID, FEATURES.astype(np.float32))


def test_who_has_just_read_the_list_finds_what_was_compacted_since(store, tmp_path):
    """An entry is in its own file until every list is old that does not have its pack."""
    reader, missed, ended = FeatureStore(tmp_path, "f" * 64), [], threading.Event()
    keys = [f"{i:02x}" * 32 for i in range(40)]
    for key in keys:
        store.put(key, FEATURES)

    def read() -> None:
        while not ended.is_set():
            missed.extend(key for key in keys if reader.get(key) is None)

    thread = threading.Thread(target=read)
    thread.start()
    store.compact()
    ended.set()
    thread.join()
    assert not missed and not list(store.alone())
    missed.extend(key for key in keys if reader.get(key) is None)
    assert not missed
