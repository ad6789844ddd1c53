"""Rules that need a real API server and the operator as processes."""
