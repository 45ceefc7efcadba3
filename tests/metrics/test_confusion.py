from memefly.metrics.confusion import confusion

BOROMIR = ["one does not simply walk into mordor", "one does not simply say no"]
DOGE = ["such wow", "very caption. such meme"]


def test_a_caption_sounds_like_the_template_whose_words_it_has():
    said = ["one does not simply meme", "such wow wow", "very wow", "one of none", "hello"]
    groups = ["boromir", "boromir", "doge", "", "rare"]
    references = [BOROMIR, BOROMIR[:1], DOGE, BOROMIR, ["hello"]]
    two = [("boromir", "boromir", 1), ("boromir", "doge", 1), ("doge", "doge", 1)]
    assert confusion(said, groups, references, most=2) == two
    assert confusion(said, groups, references, most=3) == [*two, ("rare", "rare", 1)], "where there is room for it"


def test_photographs_have_no_templates():
    assert confusion(["a dog"], [""], [["a dog"]], most=30) == []
    assert confusion(["a dog", "a cat"], ["x", "x"], [["a dog"], ["a cat"]], most=30) == []
