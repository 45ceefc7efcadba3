import pytest

from memefly.metrics.boxes import Boxes
from memefly.metrics.diversity import repetition


def test_boxes_that_a_tenth_of_the_captions_have_are_right():
    boxes = Boxes({"drake": [2] * 18 + [1, 1, 3], "doge": [4, 5]})
    assert [boxes.fit("drake", n) for n in (0, 1, 2, 3)] == [False, False, True, False], "2 of 21 are not a tenth"
    assert Boxes({"drake": [2] * 18 + [1, 1]}).fit("drake", 1), "2 of 20 are"
    assert boxes.share([("drake", 2), ("drake", 3), ("doge", 5), ("doge", 1)]) == 0.5
    assert boxes.share([]) == 0.0
    with pytest.raises(KeyError):
        boxes.fit("grumpy", 1)
    with pytest.raises(ValueError, match="no captions of the template 'doge'"):
        Boxes({"doge": []})


def test_repetition_is_of_pairs_within_a_caption():
    """Of `a b a b` three pairs, two of them different; other captions do not count."""
    assert repetition([["a", "b", "a", "b"]]) == pytest.approx(1 / 3)
    assert repetition([["a", "b"], ["a", "b"]]) == 0.0
    assert repetition([["a", "b", "a", "b"], ["c", "d"], ["e"], []]) == pytest.approx(1 / 6)
    assert repetition([["a", "a"]], n=1) == 0.5 and repetition([]) == 0.0
