"""A node of the bed: pods as processes in namespaces, without images or a runtime."""
