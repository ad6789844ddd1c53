"""How the laws are tried: as long as they take, because machines differ.

`--hypothesis-profile=long` looks for what a few examples a run do not find for days.
"""

from hypothesis import settings

settings.register_profile("house", max_examples=30, deadline=None)
settings.register_profile("long", max_examples=500, deadline=None)
settings.load_profile("house")
