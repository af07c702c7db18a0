"""The simulated network: the same protocol code on other edges."""
