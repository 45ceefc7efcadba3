"""`memefly features`: what the store holds, and what of it was damaged."""

import json

import numpy as np
import pytest

from memefly.commands.main import main
from memefly.encoders import packs
from memefly.encoders.feature_store import FeatureStore
from memefly.errors import UsageError
from memefly.operations import features

KEYS = [f"{i:02x}" * 32 for i in range(5)]


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(packs, "_FRESH", 0.02)
    for encoder, keys in (("a" * 64, KEYS), ("b" * 64, KEYS[:2])):
        store = FeatureStore(tmp_path / "features", encoder)
        for i, key in enumerate(keys):
            store.put(key, np.full((2, 2, 8), i, np.float16))
    return tmp_path


def damage(root, key) -> None:
    store = FeatureStore(root / "features", "a" * 64)
    written = store.get(key).tobytes()
    (path,) = (one for one in store.folder.rglob("*.*") if one.is_file() and written in one.read_bytes())
    path.write_bytes(path.read_bytes().replace(written, written[:-1] + b"?"))


def test_entries_are_counted_by_encoder(root):
    a, b = features.read(root)
    assert (a.encoder, a.entries, a.damaged, a.cut_off) == ("a" * 16, 5, (), 0)
    assert b.entries == 2 and a.packs == 0
    assert a.bytes == 5 * (32 + 64), "a header and 32 numbers of 2 bytes"


def test_small_packs_become_a_large_one(root, capsys):
    assert main(["features", "--root", str(root), "--compact", "--check"]) == 0
    assert "5 entries, 1 pack, " in capsys.readouterr().out
    a, b = features.read(root, check=True)
    assert (a.packs, a.entries, b.packs, b.entries) == (1, 5, 1, 2) and not a.damaged
    assert a.bytes == 5 * (32 + 64) + 28 + 5 * 45, "and an index"
    damage(root, KEYS[3])
    assert features.read(root, check=True)[0].damaged == (KEYS[3],)
    assert main(["features", "--root", str(root), "--check", "--delete"]) == 0
    assert features.read(root, check=True)[0].entries == 4


def test_what_fails_its_checksum_is_found_and_can_be_removed(root, capsys, monkeypatch):
    monkeypatch.setattr(features, "_AT_ONCE", 2)
    damage(root, KEYS[3])
    damage(root, KEYS[1])
    assert features.read(root)[0].damaged == (), "nothing was read"
    assert sorted(features.read(root, check=True)[0].damaged) == [KEYS[1], KEYS[3]]
    assert main(["features", "--root", str(root), "--check"]) == 1
    said = capsys.readouterr().out
    assert KEYS[3] in said and "2 of 5" in said and "--delete" in said
    assert main(["features", "--root", str(root), "--check", "--delete"]) == 0
    assert features.read(root, check=True)[0].entries == 3
    assert main(["features", "--root", str(root), "--check", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["damaged"] == [] and told["entries"] == 2


def test_what_a_killed_writer_left_is_told_of(root):
    folder = FeatureStore(root / "features", "a" * 64).path(KEYS[0]).parent
    (folder / ".partial-x").write_bytes(b"half")
    a, _ = features.read(root, check=True)
    assert a.cut_off == 1 and a.entries == 5


def test_a_root_without_features_is_told_so(tmp_path, capsys):
    with pytest.raises(UsageError, match="no features yet"):
        features.read(tmp_path)
    assert main(["features", "--root", str(tmp_path), "--delete"]) == 2
    assert "--check" in capsys.readouterr().err
