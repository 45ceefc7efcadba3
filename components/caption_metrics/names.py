"""What the Evaluator's metrics are called. Imports nothing, so that a configuration can be checked without TFMA."""

# With intervals, and compared with the live model.
SCORES = ("bleu1", "bleu2", "bleu3", "bleu4", "cider", "rouge_l", "chrf", "bits_a_character")
LOWER_IS_BETTER = frozenset({"bits_a_character"})
# These cost more, and are told where a rule asks for them: how well people's captions are foreseen, and how far what is
# said is from them in the space of the extra `sentences`.
FORESIGHT = ("bits_a_character", "bits_unseen", "looking_gain")
DISTANCES = ("mauve", "people_mauve", "frechet", "people_frechet", "frechet_ratio")
BESIDE_PEOPLE = (*("repetition", "near_copied_share", "spliced_share", "template_recall", "boxes_share", "ngram_bits"),)
PLAIN = (
    *("pictures", "constant_bleu4", "bleu4_gain", "others_cider", "cider_gain"),
    *("captions", "distinct_captions", "distinct_share", "distinct_1", "distinct_2", "self_bleu4", "vocabulary"),
    *("length", "valid_share", "copied_share", "nearest_similarity"),
    *(f"{of}{measure}" for measure in BESIDE_PEOPLE for of in ("", "people_")),
    *(f"{measure}_excess" for measure in BESIDE_PEOPLE),
    *FORESIGHT[1:],
    *DISTANCES,
)
INTERVAL = ("low", "high", "upper")
CHANGE = ("change", "change_low", "change_high", "change_p", "change_lower", "change_upper")
JUDGED = ("regression", "improvement", "sure_regression")
SLICES = ("group", "captions_per_picture", "caption_length")
CANDIDATE, BASELINE = "candidate", "baseline"
