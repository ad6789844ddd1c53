"""The proof: unit, integration and cluster tiers, and the test bed."""
