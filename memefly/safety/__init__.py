"""What should not be learned or said: found in texts, and kept out of decoding.

>>> Safety(SafetyConfig(categories=["hate", "personal"])).judge("call me: 202-555-0143")
Verdict(category='personal', what='a phone number')
"""

from memefly.safety.config import CATEGORIES, SafetyConfig
from memefly.safety.filter import Safety, Verdict

__all__ = ["CATEGORIES", "Safety", "SafetyConfig", "Verdict"]
