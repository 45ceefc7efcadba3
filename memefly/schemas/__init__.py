"""What data must look like: a line of captions.jsonl and what importers read (JSON Schema), an Example (tf.metadata
v0)."""

from pathlib import Path

SCHEMAS = Path(__file__).parent  # part of the package, so of a wheel
