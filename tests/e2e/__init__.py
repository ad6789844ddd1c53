"""The manifests of config/, unmodified, on a bed with a node."""
