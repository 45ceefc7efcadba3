"""LiveModel: the model that serves, as an artifact, where no resolver can find it in ML Metadata."""
