"""Rules that need no server."""
