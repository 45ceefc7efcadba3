"""What the filter finds and what it leaves alone, on a labelled list with the tricks people use."""

import json

import pytest

from memefly.errors import ConfigError
from memefly.safety import Safety, SafetyConfig, Verdict, reading
from memefly.safety.words import WordLists, read

ALL = ("hate", "sexual", "self_harm", "profanity", "personal")
SAFETY = Safety(SafetyConfig(categories=ALL))

# Words are made here out of the lists, so that none has to be written out.
HATE, SEXUAL, SWEARING = read("hate"), read("sexual"), read("profanity")
SAMPLE = [word.rstrip("*") for word in (*HATE, *SEXUAL, *SWEARING) if word.rstrip("*").isalpha() and len(word) >= 4]
GREEK = str.maketrans("aeiopcxy", "аеіорсху")  # Cyrillic ones that look like these
TRICKS = {
    "plain": str,
    "capitals": str.upper,
    "stop": lambda word: f"({word})!!",
    "possessive": lambda word: f"{word}'s",
    "spelled out": " ".join,
    "dots": ".".join,
    "hyphens": "-".join,
    "cyrillic": lambda word: word.translate(GREEK),
    "wide": lambda word: "".join(chr(ord(char) + 0xFEE0) for char in word),
    "bold": lambda word: "".join(chr(ord(char) - ord("a") + 0x1D41A) for char in word),
    "accents": lambda word: "".join(char + "\u0301" for char in word),
    "zero width": "\u200b".join,
    "repeated": lambda word: word[:-1] + word[-1] * 5,
    "digits": lambda word: word.replace("o", "0").replace("e", "3").replace("a", "4").replace("i", "1"),
    "signs": lambda word: word.replace("a", "@").replace("s", "$").replace("i", "!"),
    "star": lambda word: f"{word[0]}*{word[2:]}",
    "stars": lambda word: f"{word[0]}{'*' * (len(word) - 2)}{word[-1]}" if len(word) == 4 else word,
}
HARMLESS = (
    "Scunthorpe United plays in Penistone near Lightwater and Clitheroe",
    "the cocktail bar of the Essex Arms",
    "an assassin with class assists the assembly",
    "a classic bass grape and a therapist",
    "he analysed the analogue canal",
    "Dick Van Dyke reads Moby Dick",
    "a Maine Coon cat chases a blue tit",
    "fire retardant paint",
    "the sperm whale dives, the title is Titanic",
    "mishit the shitake? no, the shiitake",
    "Cumberland sausage, cucumbers and documents",
    "the Japanese japan lacquer of Raccoon City",
    "a spicy spice rack and a spick-free kitchen".replace("spick-free", "clean"),
    "homogenous homosapiens are Homo sapiens",
    "suicide squad is a film",
    "I cut myself some slack",
    "in 1984 he scored 455 of 8008 points",
    "room 101, flight 2025550, 3.1415926",
    "on 2026-11-26 at 10:30:15, 100,000,000 of them",
    "dress in a f l y costume",
    "u s a! u s a!",
    "I. C. U. at 5 p.m.",
    "5*5 is 25 and 2*2*2 is 8",
    "c'est la vie, s'il vous plait",
    "Ελλάδα и Россия",
    "statefarm.com hat",
    "@ the beach with my dog",
    "b4 the l8 train",
    "a dog nips at the leg of a horse",
    "P L A T I T U D E",
    "lose sight of the shore @ iNNiT. How do they",
    "<spongebob.exe/> failed to operate",
)
PERSONAL = {
    "write to jane.doe@example.org": "an e-mail address",
    "jane (at) example (dot) org": "an e-mail address",
    "Ask Jane Doe, jane at example dot com": "a name and an e-mail address",
    "call 202-555-0143 now": "a phone number",
    "call (415) 555-2671": "a phone number",
    "ring +44 20 7946 0958": "a phone number",
    "John Q. Public: 650 253 0000": "a name and a phone number",
    "see https://example.org/me": "a web address",
    "www.example.org has it": "a web address",
    "join bit.ly/2abcd": "a web address",
}


@pytest.mark.parametrize("trick", TRICKS)
def test_tricks_are_read_through(trick):
    """At most one in twenty gets through."""
    missed = [word for word in SAMPLE if not SAFETY.judge(f"look at this {TRICKS[trick](word)} over there")]
    assert len(missed) <= len(SAMPLE) / 20, f"{len(missed)} of {len(SAMPLE)}, such as {missed[:5]}"


def test_what_is_harmless_is_left_alone():
    assert [text for text in HARMLESS if SAFETY.judge(text)] == []


def test_phrases():
    for text in ("kill yourself", "KILL   YOURSELF!", "k1ll y0urself", "kill\nyourself", "killyourself", "k y s"):
        assert SAFETY.judge(text) == Verdict("self_harm", "a word or phrase of the list"), text
    assert SAFETY.judge("kill the lights yourself") is None


@pytest.mark.parametrize(("text", "what"), PERSONAL.items())
def test_data_of_persons(text, what):
    assert SAFETY.judge(text) == Verdict("personal", what)


def test_categories_and_entries_of_ones_own():
    word = SAMPLE[0]
    assert Safety(SafetyConfig(categories=["sexual"])).judge(word) is None
    own = Safety(SafetyConfig(block=["rival brand*", "zorg"], allow=["zorg the great"]))
    assert own.judge("rival brands are bad") == Verdict("blocked", "a word or phrase of the list")
    assert own.judge("z0rg") and own.judge("Zorg the Great") is None and own.judge("a rival of the brand") is None
    assert own.digest != Safety(SafetyConfig(block=["zorg"])).digest
    assert own.digest == Safety(SafetyConfig(block=["zorg", "rival brand*"], allow=["zorg the great"])).digest
    with pytest.raises(ValueError, match="has no word"):
        Safety(SafetyConfig(block=["!?"]))


def test_what_stars_hide_is_taken_for_the_milder_word():
    milder = Safety(SafetyConfig(categories=["sexual", "hate"]))
    assert milder.judge("when sh** hits the fan") is None and SAFETY.judge("when sh** hits the fan")
    assert milder.judge(f"{SEXUAL[SEXUAL.index('boobs')][:2]}**s") is not None


def test_a_scorer_of_ones_own(monkeypatch):
    import memefly.safety.personal as module

    monkeypatch.setattr(module, "score", lambda text: len(text) / 100, raising=False)
    safety = Safety(SafetyConfig(scorer="memefly.safety.personal:score", threshold=0.2))
    assert safety.judge("short") is None and safety.judge("x" * 20) == Verdict("scored", "a score of 0.2 or more")
    for wrong in (
        "nowhere:score",
        "memefly.safety.personal",
        "memefly.safety.personal:gone",
        "memefly.safety:CATEGORIES",
    ):
        with pytest.raises(ConfigError, match=r"safety\.scorer"):
            Safety(SafetyConfig(scorer=wrong))


def test_nothing_that_is_found_is_quoted():
    verdicts = [SAFETY.judge(word) for word in SAMPLE]
    told = json.dumps([verdict.what for verdict in verdicts if verdict])
    assert not [word for word in SAMPLE if f" {word} " in told]


def test_readings():
    read_ = [sorted(place) for place in reading.readings("A big dog's bone")]
    assert read_ == [["a"], ["big"], ["dog", "dog's"], ["bone"]]
    assert "friend" in reading.readings("ｆ.r.i.e.n.d!")[0] and len(reading.readings("f.r.i.e.n.d y0u")) == 2
    assert "hello" in reading.readings("h3ll0")[0]
    assert reading.fold("ＣＡＦÉ") == "cafe" and reading.fold("аррlе") == "apple"


def test_lists_are_kept_in_order():
    for name in ("hate", "sexual", "self_harm", "profanity", "allowed"):
        entries = read(name)
        assert len(entries) == len(set(entries)), f"{name} names something twice"
        assert all(entry == entry.lower().strip() for entry in entries)
    WordLists.kept(["hate", "sexual", "self_harm", "profanity"])
