"""The Kubernetes adapter: the only place that talks to an API server."""
