"""ServingValidator: the exported model, loaded and queried in a process that knows only TensorFlow."""
