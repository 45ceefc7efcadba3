"""Captions and data sets made clean, by named steps in a given order.

>>> cleaning = Cleaning.model_validate(["mojibake", "html", {"step": "length", "max_words": 40}])
>>> cleaning.clean("caf\\u00c3\\u00a9 &amp; cat").caption
'café & cat'
"""

from memefly.cleaning.config import Cleaned, Cleaning

__all__ = ["Cleaned", "Cleaning"]
