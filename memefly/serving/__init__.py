"""Serving: which version is live, and the web service that answers."""
