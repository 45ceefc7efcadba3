import pytest

from memefly.memes.cache import MemeCache, key_of
from memefly.memes.render import Meme
from memefly.memes.template import BOXES, LOWER

pytestmark = pytest.mark.once


def meme(size: int) -> Meme:
    return Meme(bytes(size), "png", 1, 1, 1, "")


def test_keys_follow_all_that_a_meme_is_made_of():
    first = key_of(b"a", ["x", "y"], BOXES, size=600, format=None)
    assert len(first) == 64 and first == key_of(b"a", ["x", "y"], list(BOXES), size=600)
    others = [
        key_of(b"b", ["x", "y"], BOXES, size=600),
        key_of(b"a", ["x\ny"], BOXES, size=600),
        key_of(b"a", ["xy", ""], BOXES, size=600),
        key_of(b"a", ["x", "y"], (LOWER,), size=600),
        key_of(b"a", ["x", "y"], BOXES, size=601),
        key_of(b"a", ["x", "y"], BOXES, size=600, format="png"),
        key_of(b"a", ["x", "y"], BOXES, size=600, mark=True),
    ]
    assert len({first, *others}) == 8


def test_what_was_not_asked_for_the_longest_goes_first():
    cache = MemeCache(megabytes=1)
    quarter = 1 << 18
    for name in "abcd":
        assert cache.put(name, meme(quarter)).data == bytes(quarter)
    assert len(cache) == 4 and cache.bytes == 1 << 20
    assert cache.get("a") is not None  # and so b is the oldest
    cache.put("e", meme(10))
    assert cache.get("b") is None and all(cache.get(name) for name in "acde")
    assert cache.bytes == 3 * quarter + 10
    cache.put("e", meme(10))
    assert cache.bytes == 3 * quarter + 10, "kept once"
    cache.put("large", meme(quarter + 1))
    assert cache.get("large") is None and len(cache) == 4
