"""memefly: learns to write captions for pictures, and ships a model only when it has earned it.

The knowledge of the project lives in this package: it imports no TFX and works as a library.
"""

import os

__version__ = "0.1.0"

# TensorFlow Transform (1.16 and 1.21) knows Keras 2 only, and TensorFlow decides at its first import which Keras it is.
# Every way into TensorFlow in this project leads through this package, so this is the one place.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
# And how it reads Google Cloud Storage (its gcs_file_system.cc): else it fetches 64 MiB of an object where one byte is
# wanted, and takes for there what was there five seconds ago.
os.environ.setdefault("GCS_READAHEAD_BUFFER_SIZE_BYTES", str(1 << 19))
os.environ.setdefault("GCS_STAT_CACHE_MAX_AGE", "0")
