"""Names of what lies in a ROOT, as nodes know it (`components.places`)."""

STORE = "root://features"
