"""What each step of cleaning does, to whom, and how often."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memefly import text
from memefly.cleaning import Cleaning, texts
from memefly.cleaning.captions import _shingles, near_duplicates
from memefly.cleaning.config import DEFAULT
from memefly.cleaning.pictures import BITS, Seen, Verdict, clusters, honest
from memefly.errors import ConfigError
from memefly.safety import SafetyConfig
from pipeline.config import load

ENGLAND = "the flag \U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f of them"


def steps(*names) -> Cleaning:
    return Cleaning.model_validate(list(names))


@pytest.mark.parametrize(
    ("step", "before", "after"),
    [
        ("mojibake", "caf\u00c3\u00a9, it\u00e2\u20ac\u2122s", "café, it’s"),
        ("mojibake", "naïve “quotes” stay", "naïve “quotes” stay"),
        ("mojibake", "1 < 2 &amp; so on", "1 < 2 &amp; so on"),
        ("html", "cats &amp;amp; dogs&nbsp;&lt;3", "cats & dogs\u00a0<3"),
        ("html", "<b>one</b><br/>does <i class='x'>not</i>", " one  does  not "),
        ("html", "x < y and a <3 b", "x < y and a <3 b"),
        ("control", "a\u200bb\ufeffc\u202ed  e\tf\x00g", "abcd e fg"),
        ("control", "👩\u200d🚀 می\u200cخواهم", "👩\u200d🚀 می\u200cخواهم"),
        ("control", "one \u200d two", "one two"),
        ("control", ENGLAND, ENGLAND),
        ("urls", "<spongebob.exe/> failed", "<spongebob.exe/> failed"),
        ("unicode", "cafe\u0301", "café"),
        ("unicode", "ﬁne", "ﬁne"),
        ({"step": "unicode", "form": "NFKC"}, "ﬁne ｗｉｄｅ", "fine wide"),
        ("urls", "look http://example.org/a?b=c. Now", "look . Now"),
        ("urls", "www.example.org/x and bit.ly/2ab too", "and too"),
        ("urls", "a man in a statefarm.com hat and/or 24/7", "a man in a statefarm.com hat and/or 24/7"),
    ],
)
def test_what_becomes_of_a_caption(step, before, after):
    cleaned = steps(step).clean(before)
    assert cleaned.caption == after and not cleaned.dropped
    name = step if isinstance(step, str) else step["step"]
    assert cleaned.changed == ((name,) if before != after else ())


@pytest.mark.parametrize(
    ("step", "caption", "why"),
    [
        ({"step": "length", "min_words": 2}, "one!", "1 words, not 2 to 60"),
        ({"step": "length", "max_words": 3}, "one two\nthree four", "4 words, not 1 to 3"),
        ({"step": "length", "max_characters": 9}, "aaaaaaaaaa", "10 characters, over 9"),
        ("language", "der hund läuft über die grüne wiese und bellt laut", "de, with 100%"),
        ("language", "una mujer con un sombrero rojo camina por la calle", "es, with 100%"),
        ("urls", "http://example.org/x", "nothing is left of it"),
        ("control", "\u200b \ufeff", "nothing is left of it"),
    ],
)
def test_what_is_dropped_and_why(step, caption, why):
    cleaned = steps(step).clean(caption)
    assert cleaned.caption == "" and cleaned.why == why
    assert cleaned.dropped == (step if isinstance(step, str) else step["step"])


def test_what_language_leaves_alone():
    step = steps("language")
    for caption in ("a dog runs", "der hund läuft", "one does not simply walk into mordor", "what if i told you it is"):
        assert step.clean(caption).caption == caption
    both = steps({"step": "language", "languages": ["en", "de"]})
    assert both.clean("der hund läuft über die grüne wiese und bellt laut").caption


def test_text_boxes_stay_apart():
    cleaned = steps(*DEFAULT).clean("  one &amp;\u200b two \nhttp://example.org/x\nthree")
    assert cleaned.caption == "one & two\nthree" and cleaned.changed == ("html", "control", "urls")


def test_two_spellings_of_a_word_are_one_token():
    cleaned = [steps("unicode").clean(unicodedata.normalize(form, "Café Å")).caption for form in ("NFC", "NFD")]
    words = {tuple(text.tokenize(caption)) for caption in cleaned}
    assert words == {("café", "å")}


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60))
def test_what_was_cleaned_stays_as_it_is(caption):
    cleaning = steps(*DEFAULT)
    once = cleaning.clean(caption).caption
    if once:
        again = cleaning.clean(once)
        # Entities and mojibake may be hidden in one another, layer by layer; what people see is settled.
        assert again.caption == cleaning.clean(again.caption).caption or not again.caption


def test_each_step_goes_over_a_caption_once(monkeypatch):
    seen = []
    monkeypatch.setattr(texts, "mended", lambda line: seen.append(line) or line)
    steps("html", "mojibake", "control").clean("a\nb")
    assert seen == ["a", "b"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ('["html", "html"]', "data.cleaning: step html stands there twice"),
        ('["duplicates", "html"]', "data.cleaning: steps that compare come last: duplicates"),
        ('["soap"]', "does not match any of the expected tags: 'mojibake', 'html'"),
        ('[{"step": "length", "words": 3}]', "words is no key"),
        ('[{"step": "length", "max_words": 0}]', r"max_words: .*greater than or equal to 1"),
        ("html", "data.cleaning"),
    ],
)
def test_what_the_configuration_refuses(given, message):
    with pytest.raises(ConfigError, match=message):
        load(None, [f"data.cleaning={given}"])


def test_safety_stands_where_it_is_put_or_before_what_compares():
    on = SafetyConfig(categories=["hate"])
    names = [step.step for step in steps("html", "duplicates").with_safety(on)]
    assert names == ["html", "safety", "duplicates"]
    assert [step.step for step in steps("safety", "html").with_safety(on)] == ["safety", "html"]
    assert steps("html").with_safety(SafetyConfig()) == steps("html")
    cleaned = steps("html").with_safety(SafetyConfig(block=["zorg"])).clean("praise zorg")
    assert (cleaned.caption, cleaned.dropped, cleaned.why) == ("", "safety", "blocked: a word or phrase of the list")
    assert Cleaning.model_validate_json(steps("html").with_safety(on).model_dump_json()) == steps("html").with_safety(
        on
    )


def test_near_duplicates():
    captions = [
        "one does not simply walk into mordor",
        "ONE does not simply, walk into Mordor!!",
        "one does not simply walk into mordoor",
        "one does not simply eat one cookie",
        "",
        "brace yourselves winter is coming",
    ]
    assert near_duplicates(captions, 0.8) == {1: 0, 2: 0}
    assert near_duplicates(captions, 1.0) == {1: 0}
    assert near_duplicates(captions[:1], 0.5) == {}


def test_near_duplicates_are_those_that_measuring_all_of_them_finds():
    kinds = [(kind, thing) for kind in ("big", "bad") for thing in ("winter", "exam", "monday")]
    captions = [
        f"brace yourselves the {kind} {thing} is coming {'now ' * n}" for kind, thing in kinds for n in range(3)
    ]
    expected, kept = {}, []
    for place, caption in enumerate(captions):
        own = _shingles(caption)
        like = [o for o in kept if len(own & _shingles(captions[o])) >= 0.7 * len(own | _shingles(captions[o]))]
        if like:
            expected[place] = like[0]
        else:
            kept.append(place)
    found = near_duplicates(captions, 0.7)
    assert found == expected


PICTURE = int("a5c3" * (BITS // 16), 16)


def test_pictures_that_look_alike():
    hashes = {"a": PICTURE, "b": PICTURE ^ 0b1011, "c": PICTURE ^ (1 << 200) ^ 0b1011, "d": ~PICTURE & (1 << BITS) - 1}
    assert clusters(hashes, 4) == [["a", "b", "c"]]
    assert clusters(hashes, 0) == []
    assert clusters({"white": 0, "grey": 0, "black": 1}, 10) == [], "plain surfaces are not one picture"


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, BITS - 1), max_size=9), min_size=2, max_size=12), st.integers(0, 9))
def test_bands_miss_nobody(flips, distance):
    hashes = {}
    for place, bits in enumerate(flips):
        hashes[str(place).zfill(2)] = PICTURE
        for bit in bits:
            hashes[str(place).zfill(2)] ^= 1 << bit
    found = {name: i for i, alike in enumerate(clusters(hashes, distance)) for name in alike}
    for one, first in hashes.items():
        for other, second in hashes.items():
            if one < other and (first ^ second).bit_count() <= distance:
                assert found[one] == found[other]


def test_no_two_sides_for_pictures_that_look_alike():
    def seen(*splits):
        return Seen(PICTURE, frozenset(splits))

    home = {"a": "train", "b": "eval", "c": "val"}.__getitem__
    assert honest({"a": seen(), "b": seen(), "c": seen()}, 0, home) == {
        "b": Verdict("a", "train"),
        "c": Verdict("a", "train"),
    }
    named = {"a": seen("train"), "b": seen("eval"), "c": seen("val")}
    assert honest(named, 0, home) == {"a": Verdict("b", ""), "c": Verdict("b", "")}
    templates = {"a": seen("train", "eval", "val"), "b": seen("train", "eval", "val")}
    assert honest(templates, 0, home) == {}
    assert honest({"a": seen("train"), "b": seen()}, 0, home) == {"a": Verdict("b", "")}
