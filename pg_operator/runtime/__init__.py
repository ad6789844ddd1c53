"""The edge: watches that feed a cache and a level-triggered work queue."""
