"""VersionPusher: a blessed model to a numbered version folder, whole or not at all, once."""
