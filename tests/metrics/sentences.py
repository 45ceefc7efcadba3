"""Captions of four pictures and a hypothesis for each: what the golden values of every metric are taken of."""

REFERENCES = [
    ["a man rides a brown horse on the beach", "a man on a horse by the sea", "someone riding a horse"],
    ["two dogs play in the snow", "the dogs are playing in deep snow"],
    ["a child in a red jacket jumps off a wall"],
    ["one does not simply walk into the office"],
]
HYPOTHESES = [
    "a man riding a horse on the beach",
    "two dogs are playing in the snow",
    "a child a child a child jumps",
    "one does not simply walk",
]
