"""gossipsub v1.1, sans-IO and wire-compatible."""
