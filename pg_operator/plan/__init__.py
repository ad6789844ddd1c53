"""Desired against observed state, and the operations between them. Pure."""
