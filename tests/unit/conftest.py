"""How the laws are tried: as long as they take, because machines differ."""

from hypothesis import settings

settings.register_profile("house", deadline=None)
settings.load_profile("house")
