"""Words cut into pieces that the captions of training are full of, so that no word is unknown.

    >>> pieces = learn({"walk": 9, "walking": 5, "talking": 4}, size=100)
    >>> Cutter(pieces)("walkings")
    ['walk', '##ing', '##s']

Pieces are learned by byte-pair encoding (Sennrich et al., arXiv 1508.07909), over characters and not bytes, and inside
words. A word is cut from its start, each time by the longest piece that fits (as WordPiece, 1609.08144; Uzan et al.,
2403.01289, find it as good as the merges' order): one rule, which plain Python and graph ops follow alike and which
needs nothing but the list of pieces. A piece that goes on with a word begins with `##`, which no word does.

Shapes: M words, V pieces.
"""

from __future__ import annotations

import heapq
import itertools
import string
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from memefly.spelling import GOES_ON

if TYPE_CHECKING:
    import tensorflow as tf

LONGEST = 16  # characters of a piece
ALWAYS = string.ascii_lowercase + string.digits + "'"  # characters that are pieces, seen or not


def learn(counts: Mapping[str, int], size: int, min_count: int = 1) -> list[str]:
    """Pieces of words, of which `counts` says how often each occurs: `size` of them, or fewer where nothing is left to
    be merged.

    Characters that occur `min_count` times come first, the commonest where there is no room for all; then what is
    merged, in that order. The same counts give the same pieces.
    """
    words = sorted(counts)
    cut = [_characters(word) for word in words]
    characters: Counter[str] = Counter()
    for word, parts in zip(words, cut):
        for part in parts:
            characters[part] += counts[word]
    always = [form for char in ALWAYS for form in (char, GOES_ON + char)]
    others = sorted(
        (p for p, n in characters.items() if n >= min_count and p not in always), key=lambda p: (-characters[p], p)
    )
    pieces = [*always, *others[: size - len(always)]]
    pairs: Counter[tuple[str, str]] = Counter()
    where: dict[tuple[str, str], set[int]] = defaultdict(set)
    for i, parts in enumerate(cut):
        for pair in itertools.pairwise(parts):
            pairs[pair] += counts[words[i]]
            where[pair].add(i)
    known = set(pieces)
    # Of equally common pairs the first by its letters; entries whose count has changed since are passed over.
    queue = [(-count, pair) for pair, count in pairs.items()]
    heapq.heapify(queue)
    while queue and len(pieces) < size:
        count, pair = heapq.heappop(queue)
        if -count != pairs[pair]:
            if pairs[pair] > 0:
                heapq.heappush(queue, (-pairs[pair], pair))
            continue
        if -count < max(2, min_count):
            break
        merged = pair[0] + pair[1].removeprefix(GOES_ON)
        if len(merged.removeprefix(GOES_ON)) > LONGEST or not known.issuperset(pair):
            pairs[pair] = 0
            continue
        if merged not in known:
            known.add(merged)
            pieces.append(merged)
        changed = set()
        for i in sorted(where.pop(pair)):
            before, cut[i] = cut[i], _merge(cut[i], pair, merged)
            for one in itertools.pairwise(before):
                pairs[one] -= counts[words[i]]
            for one in itertools.pairwise(cut[i]):
                pairs[one] += counts[words[i]]
                where[one].add(i)
                changed.add(one)
        for one in sorted(changed):
            heapq.heappush(queue, (-pairs[one], one))
    return pieces


def _characters(word: str) -> list[str]:
    return [word[0], *(GOES_ON + char for char in word[1:])]


def _merge(parts: Sequence[str], pair: tuple[str, str], merged: str) -> list[str]:
    out: list[str] = []
    i = 0
    while i < len(parts):
        if i + 1 < len(parts) and (parts[i], parts[i + 1]) == pair:
            out.append(merged)
            i += 2
        else:
            out.append(parts[i])
            i += 1
    return out


class Cutter:
    """Words to pieces. What no piece fits, a character that was never seen, is a piece of its own."""

    def __init__(self, pieces: Iterable[str]):
        self._pieces = frozenset(pieces)
        self._known: dict[str, list[str]] = {}

    def __call__(self, word: str) -> list[str]:
        if word not in self._known:
            if len(self._known) >= 1 << 17:
                self._known.clear()
            self._known[word] = self._cut(word)
        return self._known[word]

    def _cut(self, word: str) -> list[str]:
        cut, start = [], 0
        while start < len(word):
            sign = GOES_ON if start else ""
            longest = min(LONGEST, len(word) - start)
            fits = (n for n in range(longest, 0, -1) if sign + word[start : start + n] in self._pieces)
            length = next(fits, 1)
            cut.append(sign + word[start : start + length])
            start += length
        return cut


def cut_graph(words: tf.RaggedTensor, lookup: Callable[[tf.Tensor], tf.Tensor], unknown: int) -> tf.RaggedTensor:
    """`Cutter` as graph ops: ragged string (N, words) to the ids of their pieces, ragged int64 (N, pieces).

    `lookup` turns strings of any shape into ids int64, and what is no piece into `unknown`.
    """
    import tensorflow as tf

    distinct, which = tf.unique(words.values)  # (M,)
    ids = _cut_each(distinct, lookup, unknown)  # ragged (M, pieces)
    by_word = words.with_values(tf.gather(ids, which))  # (N, words, pieces)
    return by_word.merge_dims(1, 2)


def _cut_each(words: tf.Tensor, lookup: Callable, unknown: int) -> tf.RaggedTensor:
    import tensorflow as tf

    length = tf.strings.length(words, unit="UTF8_CHAR")  # (M,)
    sizes = tf.range(1, LONGEST + 1)  # (n,)

    def more(start, ids):
        return tf.reduce_any(start < length)

    def cut(start, ids):
        rest = tf.strings.substr(words, start, tf.fill(tf.shape(start), LONGEST), unit="UTF8_CHAR")
        sign = tf.where(start > 0, GOES_ON, "")
        fits = [sign + tf.strings.substr(rest, 0, n, unit="UTF8_CHAR") for n in range(1, LONGEST + 1)]
        found = lookup(tf.stack(fits, axis=1))  # (M, n)
        fitting = (found != unknown) & (sizes <= (length - start)[:, tf.newaxis])
        longest = tf.reduce_max(tf.where(fitting, sizes, 0), axis=1)  # (M,)
        one = tf.gather(found, tf.maximum(longest, 1) - 1, batch_dims=1)
        one = tf.where(start < length, one, -1)  # no piece
        start = tf.minimum(start + tf.maximum(longest, 1), length)
        return start, tf.concat([ids, one[:, tf.newaxis]], axis=1)

    nothing = tf.zeros([tf.shape(words)[0], 0], tf.int64)
    _, ids = tf.while_loop(
        more, cut, (tf.zeros_like(length), nothing),
        shape_invariants=(tf.TensorShape([None]), tf.TensorShape([None, None])),
    )  # fmt: skip
    return tf.ragged.boolean_mask(ids, ids >= 0)
