"""The library developers use."""
