"""Proof that tests need the guards: taken out one by one, each fails its tests."""
