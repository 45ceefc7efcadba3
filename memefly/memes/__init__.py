"""Memes: templates, texts in their boxes, pictures with words on them. `render` is the way in."""
