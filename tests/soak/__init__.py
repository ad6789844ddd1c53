"""A long run of random work and accidents, held against a model."""
