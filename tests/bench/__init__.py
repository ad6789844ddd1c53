"""Measurements beside their floor; never a timed test."""
