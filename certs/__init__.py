"""Certificates of the webhook server: issuing them, and reloading mounted ones."""
