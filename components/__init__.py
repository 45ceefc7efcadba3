"""TFX components of memefly: contracts and thin shells over the `memefly` package."""
