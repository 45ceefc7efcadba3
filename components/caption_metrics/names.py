"""What the Evaluator's metrics are called. Imports nothing, so that a configuration can be checked without TFMA."""

# With intervals, and compared with the live model.
SCORES = ("bleu1", "bleu2", "bleu3", "bleu4", "cider", "rouge_l", "chrf")
PLAIN = (
    *("pictures", "constant_bleu4", "bleu4_gain", "others_cider", "cider_gain"),
    *("distinct_captions", "distinct_share", "distinct_1", "distinct_2", "self_bleu4", "vocabulary", "length"),
    *("valid_share", "copied_share", "nearest_similarity", "template_recall"),
)
INTERVAL = ("low", "high", "upper")
CHANGE = ("change", "change_low", "change_high", "change_p", "change_lower", "change_upper")
JUDGED = ("regression", "improvement", "sure_regression")
SLICES = ("group", "captions_per_picture", "caption_length")
CANDIDATE, BASELINE = "candidate", "baseline"
