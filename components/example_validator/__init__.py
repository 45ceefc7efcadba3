"""TFX's ExampleValidator, made strict: an anomaly fails the run and says which feature and why."""
