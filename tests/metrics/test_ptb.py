"""Golden values come from Stanford CoreNLP 3.4.1, as coco-caption calls it and pycocoevalcap 1.2 wraps it:

python -c "from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer
print(PTBTokenizer().tokenize({0: [{'caption': CAPTION}]}))"
"""

import pytest

from memefly.metrics import ptb, score

GOLDEN = [
    ("A man isn't riding Ann's well-known T-shirt , is he ?", "a man is n't riding ann 's well-known t-shirt is he"),
    ("Two dogs (one brown) run -- fast !", "two dogs -lrb- one brown -rrb- run fast"),
    ('"Stop!" says the sign on 5th Ave.', "stop says the sign on 5th ave."),
    ("I can't, won't and shouldn't've cannot gonna wanna", "i ca n't wo n't and should n't 've can not gon na wan na"),
    ("Mr. Smith's kids' toys cost $5.50 or 1,000 yen", "mr. smith 's kids toys cost $ 5.50 or 1,000 yen"),
    ("A U.S. soldier at 10:30 p.m. on the 2nd of Jan. 2010", "a u.s. soldier at 10:30 p.m. on the 2nd of jan. 2010"),
    ("A 4-wheeler in mid-air... jumping", "a 4-wheeler in mid-air jumping"),
    ("The 1960s rock 'n' roll band 'Em All", "the 1960s rock 'n' roll band 'em all"),
    ("A slip 'n' slide at five o'clock", "a slip 'n' slide at five o'clock"),
    ("It's 50% off; isn't that great?!", "it 's 50 % off is n't that great ?!"),
    ("He said: don't you dare!!", "he said do n't you dare !!"),
    ("A boy in a red/blue shirt scores 1-0", "a boy in a red/blue shirt scores 1-0"),
    ("10-12 people stand by a statefarm.com sign", "10-12 people stand by a statefarm.com sign"),
    ("they're we'll I'd you've I'm", "they 're we 'll i 'd you 've i 'm"),
    ("A dog , a cat and a bird .", "a dog a cat and a bird"),
    ("the letter P.", "the letter p."),
    ("[bracket] {curly}", "-lsb- bracket -rsb- -lcb- curly -rcb-"),
    ("a man with a no. 5 jersey says no.", "a man with a no. 5 jersey says no"),
    ("What?? #hashtag * ** c", "what ?? #hashtag * ** c"),
    ("a child’s toy “quoted”", "a child 's toy quoted"),
    ("St. Bernard vs. poodle etc.", "st. bernard vs. poodle etc."),
    ("gimme that, lemme see", "gim me that lem me see"),
    ("half-eaten ice-cream cone , melting .", "half-eaten ice-cream cone melting"),
]


@pytest.mark.parametrize(("caption", "golden"), GOLDEN)
def test_it_cuts_as_the_coco_caption_evaluation(caption, golden):
    assert ptb.tokenize(caption) == golden.split()


def test_metrics_take_it():
    """A contraction is two words to it, and one to `memefly.text`."""
    references, hypotheses = [["a dog doesn't run"]], ["a dog does run"]
    cut = score(references, hypotheses, tokenize=ptb.tokenize)
    assert cut["bleu1"] > score(references, hypotheses)["bleu1"]
    assert cut["bleu1"] == pytest.approx(score([["a dog does n't run"]], hypotheses, tokenize=False)["bleu1"])
