"""The PostgreSQL adapter: the only place that talks to a server."""
