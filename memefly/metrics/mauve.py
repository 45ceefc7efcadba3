"""How far what is said is from what people say, as two clouds of points: MAUVE, and the Fréchet distance.

    >>> mauve(said, written)        # embeddings float (n, D) and (m, D) to a number up to 1: the same cloud
    >>> frechet(said, written)      # from 0 up: the same mean and spread

`memefly.metrics.sentences` makes points of captions. Both depend on how many points there are, so what they tell of a
model is read beside what they tell of as many captions of people against others of people.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

_WEIGHTS = np.linspace(1e-6, 1 - 1e-6, 25)
_SCALE = 5.0
_KEPT = 0.9  # of the variance, by the first principal components
_POINTS_A_CLUSTER = 10
LEAST = 2 * _POINTS_A_CLUSTER  # points of a cloud, for two clusters
_TINY = 1e-12


def mauve(p: np.ndarray, q: np.ndarray, seed: int = 0) -> float:
    """The area under the divergence frontier of two clouds (Pillutla et al., arXiv 2102.01454, with the defaults of its
    authors: unit vectors, principal components, a cluster for ten points, c = 5). Raises ValueError for fewer points
    than `LEAST` in one of them."""
    if min(len(p), len(q)) < LEAST:
        raise ValueError(f"expected {LEAST} points at least in both, got {len(p)} and {len(q)}")
    return _area(*_histograms(p, q, seed))


def _histograms(p: np.ndarray, q: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The shares of each cloud in clusters of both."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    both = np.concatenate([p, q]).astype(np.float64)
    both /= np.maximum(np.linalg.norm(both, axis=1, keepdims=True), _TINY)
    parts = PCA(random_state=seed).fit(both)
    wanted = int(np.searchsorted(np.cumsum(parts.explained_variance_ratio_), _KEPT)) + 1
    clusters = min(len(p), len(q)) // _POINTS_A_CLUSTER
    labels = KMeans(clusters, n_init=5, max_iter=500, random_state=seed).fit_predict(parts.transform(both)[:, :wanted])
    counted = (np.bincount(own, minlength=clusters) for own in (labels[: len(p)], labels[len(p) :]))
    first, second = (counts / counts.sum() for counts in counted)
    return first, second


def _area(p: np.ndarray, q: np.ndarray) -> float:
    """Of what lies below (exp(-c KL(q|r)), exp(-c KL(p|r))) for all mixtures r of p and q."""
    mixtures = [(weight * p + (1 - weight) * q) for weight in _WEIGHTS]
    x = np.exp(-_SCALE * np.array([0.0, *(_divergence(q, r) for r in mixtures), np.inf]))
    y = np.exp(-_SCALE * np.array([np.inf, *(_divergence(p, r) for r in mixtures), 0.0]))
    return float((_integral(x, y) + _integral(y, x)) / 2)


def _integral(x: np.ndarray, y: np.ndarray) -> float:
    order = np.lexsort((-y, x))
    x, y = x[order], y[order]
    return float(((x[1:] - x[:-1]) * (y[1:] + y[:-1]) / 2).sum())


def _divergence(p: np.ndarray, r: np.ndarray) -> float:
    """Kullback and Leibler's, in nats."""
    there = p > 0
    return float((p[there] * np.log(p[there] / r[there])).sum())


def frechet(p: np.ndarray, q: np.ndarray) -> float:
    """The Fréchet distance of the normal distributions of two clouds (Dowson and Landau, 1982; of embeddings Heusel et
    al., arXiv 1706.08500). Raises ValueError for fewer than two points in one of them."""
    if min(len(p), len(q)) < 2:
        raise ValueError(f"expected two points at least in both, got {len(p)} and {len(q)}")
    first, second = (np.atleast_2d(np.cov(cloud.astype(np.float64), rowvar=False)) for cloud in (p, q))
    # The trace of (C1 C2)^(1/2) by eigenvalues of C1^(1/2) C2 C1^(1/2), which has the same ones and is symmetric.
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    mixed = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ second @ root), 0)).sum()
    apart = p.mean(axis=0, dtype=np.float64) - q.mean(axis=0, dtype=np.float64)
    return float(max(0.0, apart @ apart + np.trace(first) + np.trace(second) - 2 * mixed))


def distances(
    said: Sequence[str], written: Sequence[Sequence[str]], embed: Callable[[Sequence[str]], np.ndarray], seed: int = 0
) -> dict[str, float]:
    """`mauve` and `frechet` of what is said to as many captions that people wrote of the same pictures, drawn with
    `seed`; and as the floor `people_mauve` and `people_frechet`, of as many others of theirs to the same. Nothing where
    there are too few."""
    drawer, many = np.random.default_rng(seed), -(-len(said) // max(1, len(written)))  # of a picture
    people: tuple[list[str], list[str]] = ([], [])
    for captions in written:
        chosen = [captions[i] for i in drawer.permutation(len(captions))[: 2 * many]]
        half = (len(chosen) + 1) // 2
        people[0].extend(chosen[:half])
        people[1].extend(chosen[half:])
    if min(len(people[1]), len(said)) < LEAST:
        return {}
    ours, first, second = (embed(captions) for captions in (said, *people))
    apart, floor = frechet(ours, first), frechet(second, first)
    return {
        "mauve": mauve(ours, first),
        "people_mauve": mauve(second, first),
        "frechet": apart,
        "people_frechet": floor,
        "frechet_ratio": apart / floor if floor else 0.0,
    }
