"""The commands operators and developers type."""
