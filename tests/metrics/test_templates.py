import pytest

from memefly.metrics.templates import TemplateClassifier, template_recall

CAPTIONS = {
    "grumpy-cat": ["i had fun once it was awful", "no", "good no"],
    "doge": ["much wow such caption", "very meme wow"],
    "boromir": ["one does not simply walk into the office", "one does not simply stop", "one does not simply eat"],
}


@pytest.fixture
def classifier():
    return TemplateClassifier({t: [c.split() for c in captions] for t, captions in CAPTIONS.items()})


def test_words_tell_the_template(classifier):
    assert classifier.guess(["such", "office", "very", "wow"]) == "doge"
    assert classifier.guess(["one", "does", "not", "simply", "have", "fun"]) == "boromir"
    assert classifier.guess(["it", "was", "no", "fun"]) == "grumpy-cat"


def test_what_nobody_said_is_of_the_likeliest(classifier):
    """Templates with more captions are likelier; of the equally likely, the first by name."""
    assert classifier.guess(["zebra", "crossing"]) == "boromir"
    assert classifier.guess([]) == "boromir"


def test_as_naive_bayes_has_it():
    """By hand: three words, smoothing 0.1. p(no | cat) p(wow | cat) = 1.1 * 0.1 / 1.3^2 = 0.0651 is more than
    p(no | doge) p(wow | doge) = 0.1 * 2.1 / 3.3^2 = 0.0193; with another "wow" it is 0.0050 to 0.0123."""
    classifier = TemplateClassifier({"doge": [["wow", "wow", "such"]], "cat": [["no"]]})
    assert classifier.guess(["no", "wow"]) == "cat"
    assert classifier.guess(["no", "wow", "wow"]) == "doge"


def test_recall(classifier):
    captions = [c.split() for captions in CAPTIONS.values() for c in captions]
    templates = [t for t, captions in CAPTIONS.items() for _ in captions]
    assert template_recall(classifier, captions, templates) == 1.0
    wrong = [templates[0] if t != templates[0] else "doge" for t in templates]
    assert template_recall(classifier, captions, wrong) == 0.0
    assert template_recall(classifier, [], []) == 0.0
    with pytest.raises(ValueError, match="8 captions, but 1 templates"):
        template_recall(classifier, captions, ["doge"])


def test_what_cannot_be():
    with pytest.raises(ValueError, match="two of them at least"):
        TemplateClassifier({"doge": [["wow"]]})
    with pytest.raises(ValueError, match="captions of each"):
        TemplateClassifier({"doge": [["wow"]], "cat": []})
