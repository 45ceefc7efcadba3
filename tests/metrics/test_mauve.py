import numpy as np
import pytest

from memefly.metrics import mauve as module
from memefly.metrics.mauve import distances, frechet, mauve


def cloud(n: int, shift: float = 0.0, scale: float = 1.0, seed: int = 0, size: int = 6) -> np.ndarray:
    return (shift + scale * np.random.default_rng(seed).standard_normal((n, size))).astype(np.float32)


def test_frechet_of_normal_clouds():
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)): of N(0, 1) and N(2, 3^2) in six dimensions 6 (2^2 + (3 - 1)^2)."""
    assert frechet(cloud(40_000), cloud(40_000, 2, 3, seed=1)) == pytest.approx(48, rel=0.02)
    assert frechet(cloud(500), cloud(500)) == pytest.approx(0, abs=1e-4)
    turned = cloud(800) @ np.diag([1, 2, 3, 4, 5, 6.0])
    assert frechet(turned, turned[:, ::-1]) == pytest.approx(2 * ((1 - 6) ** 2 + (2 - 5) ** 2 + (3 - 4) ** 2), rel=0.1)
    assert frechet(np.zeros((3, 1)), np.array([[-1.0], [1.0]])) == pytest.approx(2.0), "the variance of two points"


@pytest.mark.slow
def test_mauve_is_one_for_one_cloud_and_falls_with_distance():
    people, others = cloud(500, 1.0), cloud(500, 1.0, seed=1)
    same = mauve(people, others)
    assert mauve(people, people) == pytest.approx(1.0, abs=1e-6) and same > 0.9
    far = [mauve(people, cloud(500, shift, seed=2)) for shift in (0.8, 0.3, -1.0)]
    assert same > far[0] > far[1] > far[2] and far[2] < 0.05
    narrow = mauve(people, cloud(500, 1.0, 0.2, seed=3))
    assert narrow < 0.5, "what says always the same is far away too"
    assert mauve(people, others) == same, "one seed, one value"


def test_the_area_by_hand():
    """Of p = (1, 0) and q = (0.5, 0.5). At weight w the mixture is ((1 + w) / 2, (1 - w) / 2), so KL(p|r) is
    -log((1 + w) / 2), and KL(q|r) -log(sqrt(1 - w^2)): the frontier is x = (1 - w^2)^(c / 2), y = ((1 + w) / 2)^c."""
    w = np.linspace(0, 1, 200_001)
    x, y = (1 - w**2) ** 2.5, ((1 + w) / 2) ** 5
    exact = np.trapezoid(y[::-1], x[::-1]) if hasattr(np, "trapezoid") else np.trapz(y[::-1], x[::-1])
    assert module._area(np.array([1.0, 0.0]), np.array([0.5, 0.5])) == pytest.approx(exact, abs=3e-3)
    assert module._area(np.array([1.0, 0.0]), np.array([0.0, 1.0])) < 0.05


def test_what_is_refused():
    with pytest.raises(ValueError, match="20 points at least in both, got 19 and 20"):
        mauve(cloud(19), cloud(20))
    with pytest.raises(ValueError, match="two points at least in both, got 1 and 20"):
        frechet(cloud(1), cloud(20))


def test_distances_have_people_against_people_as_their_floor():
    """Bags of words as points: what people say, what people say of others, and one sentence."""
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(12)]
    written = [[" ".join(rng.choice(words, 6)) for _ in range(60)] for _ in range(6)]
    spoken: list[str] = []

    def embed(captions):
        spoken.extend(captions)
        return np.array([[c.split().count(word) for word in words] for c in captions], np.float32)

    like_people = [" ".join(rng.choice(words, 6)) for _ in range(6 * 20)]
    found = distances(like_people, written, embed)
    assert len(spoken) == 3 * 120 and len(set(spoken[120:240]) & set(spoken[240:])) < 3, "two parts of people's"
    assert found["frechet"] == pytest.approx(found["people_frechet"], rel=0.3)
    assert found["frechet_ratio"] == found["frechet"] / found["people_frechet"]
    assert found["mauve"] == pytest.approx(found["people_mauve"], abs=0.15)
    one = distances([" ".join(["w1"] * 6)] * 120, written, embed)
    assert one["frechet"] > 10 * found["frechet"] and one["mauve"] < 0.1
    assert one["people_frechet"] == found["people_frechet"]
    assert distances(like_people[:5], written[:1], embed) == {}, "too few to tell"
