"""Agreement with the published implementation on real captions: the first caption of each of Flickr8k's 981 dev
pictures against the other four. Golden values come from pycocoevalcap 1.2 and sacrebleu 2.6.0 (chrF), the captions
cut by

- `memefly.text`, and handed to them as they are;
- Stanford CoreNLP's tokenizer, through pycocoevalcap's `PTBTokenizer`, from the raw text. That lowers BLEU-4 by 0.0004
  and CIDEr by 0.005.
"""

import pytest

from memefly import text
from memefly.metrics import ptb, score

ORDER = ("bleu1", "bleu2", "bleu3", "bleu4", "cider", "rouge_l")
CUT_BY_TEXT = (0.6284411869860003, 0.4440805294065674, 0.3071023240274335, 0.21125026351969434,
               0.8102666513947833, 0.4917566409660768)  # fmt: skip
CHRF = 0.412061807835715
CUT_BY_PTB = (0.6275651940137442, 0.4432217731534048, 0.30642288297450676, 0.2108057001683474,
              0.8053544978507221, 0.4915704225240664)  # fmt: skip


@pytest.fixture(scope="module")
def captions(shared_data):
    """981 x 5, in the order of the file."""
    found: dict[str, list[str]] = {}
    for line in (shared_data / "flickr8k" / "Flickr8k.token.txt").read_text().splitlines():
        key, _, caption = line.partition("\t")
        found.setdefault(key.split("#")[0], []).append(caption)
    names = (shared_data / "flickr8k" / "Flickr_8k.devImages.txt").read_text().split()
    return [found[name] for name in names]


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.parametrize(("tokenize", "golden"), [(text.tokenize, CUT_BY_TEXT), (ptb.tokenize, CUT_BY_PTB)])
def test_real_captions_agree_with_the_published_code(captions, tokenize, golden):
    found = score([group[1:] for group in captions], [group[0] for group in captions], tokenize=tokenize)
    assert len(captions) == 981
    assert [found[name] for name in ORDER] == pytest.approx(golden, abs=1e-9)
    if tokenize is text.tokenize:
        assert found["chrf"] == pytest.approx(CHRF, abs=1e-9)
