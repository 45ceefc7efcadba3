"""Captions of one picture that say the same: by their words, or nearly.

>>> near_duplicates(["one does not simply walk into mordor", "one does not simply walk into Mordor!!"], 0.8)
{1: 0}
"""

from __future__ import annotations

from collections.abc import Sequence

from memefly import text

_SHINGLE = 4  # characters
_PERMUTATIONS = 64
_BELOW = 0.15  # the similarity that is asked for: candidates are looked for so far below it


def near_duplicates(captions: Sequence[str], similarity: float) -> dict[int, int]:
    """By the place of a caption, that of an earlier one that it is like: of which at least the share `similarity` of
    all their runs of four characters is common to both (Jaccard). Earlier ones are not themselves like others.

    Candidates come from MinHash and banding (Broder 1997; datasketch), so that thousands of captions need not each be
    compared with each; what is like is then measured.
    """
    from datasketch import MinHash, MinHashLSH

    if len(captions) < 2:
        return {}
    # Bands are laid so that few are missed; what was found in vain is measured, and is cheap.
    index = MinHashLSH(threshold=max(0.1, similarity - _BELOW), num_perm=_PERMUTATIONS, weights=(0.1, 0.9))
    shingles: dict[int, set[str]] = {}
    found: dict[int, int] = {}
    start = MinHash(num_perm=_PERMUTATIONS, seed=1)
    for place, caption in enumerate(captions):
        own = _shingles(caption)
        signature = start.copy()
        signature.update_batch([shingle.encode("utf-8") for shingle in sorted(own)])
        for other in sorted(index.query(signature)):
            common = len(own & shingles[other])
            if common >= similarity * (len(own) + len(shingles[other]) - common):
                found[place] = other
                break
        else:
            shingles[place] = own
            index.insert(place, signature)
    return found


def _shingles(caption: str) -> set[str]:
    said = " ".join(text.tokenize(caption))
    return {said[i : i + _SHINGLE] for i in range(max(1, len(said) - _SHINGLE + 1))}
