"""The use cases: observe, plan and apply one object, and report the outcome."""
