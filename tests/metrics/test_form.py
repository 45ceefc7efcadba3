import pytest

from memefly.metrics import valid_share
from memefly.metrics.form import well_formed


@pytest.mark.parametrize("caption", ["a dog runs", "no", "is that all there is", "very very good", "y u no share"])
def test_fit_to_print(caption):
    assert well_formed(caption.split())


@pytest.mark.parametrize(
    "caption", ["", "a dog runs through the", "so so so good", "a big dog and a big dog runs", "the man in"]
)
def test_not_fit_to_print(caption):
    assert not well_formed(caption.split())


def test_share():
    assert valid_share([["a", "dog"], ["a"], [], ["dogs"]]) == 0.5
    assert valid_share([]) == 0.0
