from memefly.metrics import cider_of_others

REFERENCES = [[["a", "red", "cat"], ["the", "cat"]], [["a", "dog", "runs"]], [["two", "birds", "fly"]], [["a", "bus"]]]


def test_a_caption_for_its_picture_is_worth_nothing_beside_others():
    said = [["a", "red", "cat"], ["dog", "runs"], ["two", "birds", "fly"], ["bus"]]
    assert cider_of_others(REFERENCES, said) < 0.3
    assert cider_of_others([group[:1] for group in REFERENCES], [group[0] for group in REFERENCES]) < 1.0


def test_what_is_said_to_every_picture_is_worth_the_same_everywhere():
    from memefly.metrics import cider

    said = [["a", "red", "cat"]] * 4
    assert cider_of_others(REFERENCES, said) == cider(REFERENCES, said)["cider"]


def test_every_caption_moves_and_the_seed_decides_where():
    said = [["a", "dog", "cat"], ["dog", "runs"], ["two", "birds", "fly"], ["bus"]]
    rotations = {round(cider_of_others(REFERENCES, said, shuffles=1, seed=seed), 9) for seed in range(20)}
    assert len(rotations) > 1
    assert cider_of_others(REFERENCES[:1], said[:1]) == 0.0
