"""Picture encoders: which (`config`), their weights, pictures to features, and the store that keeps these.

>>> encoder = encoders.load(EncoderConfig(weights="random"))
"""

from memefly.encoders.config import EncoderConfig, digest, name
from memefly.encoders.encoder import Encoder, load, tuned, unfreeze

__all__ = ["Encoder", "EncoderConfig", "digest", "load", "name", "tuned", "unfreeze"]
