"""Entries in packs: whole or not at all, found wherever they are, by any number of writers."""

import hashlib
import itertools
import pickle
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from memefly.encoders.packs import FLIPPED, Packs, key_of, name_of
from memefly.errors import FeaturesError


def name(i: int) -> str:
    return hashlib.sha256(str(i).encode()).hexdigest()


def entry(i: int) -> bytes:
    return bytes([i % 256]) * (10 + i % 7)


def fill(packs: Packs, numbers) -> None:
    with packs.writing() as pack:
        for i in numbers:
            pack.add(name(i), entry(i))


def is_whole(content: bytes) -> bool:
    return content != b"damaged"


def files(packs: Packs) -> list[str]:
    return sorted(path.suffix for path in packs.folder.iterdir())


def test_keys_have_names():
    for one in (name(1), name(1) + FLIPPED, "0" * 64, "f" * 64 + FLIPPED):
        assert name_of(key_of(one)) == one
    for wrong in ("", "ab", "g" * 64, name(1) + "-other", name(1)[:-2]):
        with pytest.raises(ValueError):
            key_of(wrong)


def test_what_is_packed_is_found(tmp_path):
    packs = Packs(tmp_path / "packs")
    assert packs.get(name(1)) is None and list(packs.names()) == []
    fill(packs, range(100))
    with packs.writing() as pack:
        pack.add(name(1) + FLIPPED, b"mirrored")
        pack.add(name(1), b"another that is called the same")
    assert all(packs.get(name(i)) == entry(i) for i in range(2, 100)) and packs.get(name(100)) is None
    assert packs.get(name(1) + FLIPPED) == b"mirrored" and packs.get(name(2) + FLIPPED) is None
    assert list(packs.names()) == sorted([*(name(i) for i in range(100)), name(1) + FLIPPED])
    again = pickle.loads(pickle.dumps(packs))
    assert again.get(name(7)) == entry(7)


def test_a_block_that_fails_leaves_nothing(tmp_path):
    packs = Packs(tmp_path / "packs")
    with pytest.raises(RuntimeError), packs.writing() as pack:
        pack.add(name(1), entry(1))
        raise RuntimeError
    with packs.writing():
        pass
    assert files(packs) == [] and packs.get(name(1)) is None


def test_entries_without_their_index_are_no_pack(tmp_path):
    """As a kill between the two leaves them."""
    packs = Packs(tmp_path)
    fill(packs, range(3))
    next(tmp_path.glob("*.index")).unlink()
    assert Packs(tmp_path).get(name(1)) is None
    fill(packs, range(3))
    assert Packs(tmp_path).get(name(1)) == entry(1) and files(packs) == [".index", ".pack"]


def test_what_others_write_is_seen(tmp_path):
    one, other = Packs(tmp_path), Packs(tmp_path)
    fill(one, range(3))
    assert other.get(name(1)) == entry(1)
    fill(one, range(3, 6))
    other.changed()  # as when a second is over
    assert other.get(name(4)) == entry(4)


def test_many_write_at_once(tmp_path):
    def write(part: int) -> None:
        fill(Packs(tmp_path), range(part * 10, part * 10 + 20))  # each half of which another writes too

    with ThreadPoolExecutor(8) as writers:
        list(writers.map(write, range(10)))
    packs = Packs(tmp_path)
    assert list(packs.names()) == sorted(name(i) for i in range(110))
    assert all(packs.get(name(i)) == entry(i) for i in range(110))


def test_compacted_packs_have_ranges_of_their_own(tmp_path):
    packs = Packs(tmp_path)
    for part in range(10):
        fill(packs, range(part * 30, part * 30 + 30))
    with packs.writing() as pack:
        for i in range(20):
            pack.add(name(i) + FLIPPED, b"mirrored")
    loose = {name(i): (lambda i=i: entry(i)) for i in range(300, 320)} | {name(400): lambda: b"damaged"}
    left = packs.compact(loose, is_whole, size=400)
    every = packs.all()
    assert len(every) == left and 5 < left < 20
    assert all(pack.size >= 400 for pack in every[:-1])
    for before, after in itertools.pairwise(every):
        assert before.last < after.first
    assert all(packs.get(name(i)) == entry(i) for i in range(320)) and packs.get(name(400)) is None
    assert all(packs.get(name(i) + FLIPPED) == b"mirrored" for i in range(20))
    assert sum(len(pack.index) for pack in every) == 340
    assert packs.compact({}, is_whole, size=400) == left and packs.all() == every, "nothing is done twice"
    assert len(list(tmp_path.iterdir())) == 2 * left


def test_who_reads_while_it_is_compacted_finds_everything(tmp_path):
    reader, packs = Packs(tmp_path), Packs(tmp_path)
    for part in range(4):
        fill(packs, range(part * 10, part * 10 + 10))
    assert reader.get(name(5)) == entry(5)
    packs.compact({}, is_whole, size=1 << 20)
    for i in random.Random(0).sample(range(40), 40):
        assert reader.get(name(i)) == entry(i)


def test_what_is_discarded_is_gone_from_the_disk(tmp_path):
    packs = Packs(tmp_path)
    fill(packs, range(10))
    with packs.writing() as pack:
        pack.add(name(3), b"secret of somebody's")
        pack.add(name(50), entry(50))
    assert packs.discard([name(3), name(99)]) == 2
    assert packs.get(name(3)) is None and packs.get(name(50)) == entry(50) and packs.get(name(4)) == entry(4)
    assert not [path for path in tmp_path.iterdir() if b"secret" in path.read_bytes()]
    assert packs.discard(packs.names()) == 10 and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "damage", [lambda content: b"", lambda content: content[:-1], lambda content: b"?" + content[1:]]
)
def test_a_damaged_index_is_told(tmp_path, damage):
    packs = Packs(tmp_path)
    fill(packs, range(3))
    (index,) = tmp_path.glob("*.index")
    index.write_bytes(damage(index.read_bytes()))
    with pytest.raises(FeaturesError, match=r"\.index: .*Remove it and its \.pack"):
        Packs(tmp_path).get(name(1))
