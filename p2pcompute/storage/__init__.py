"""What a home holds: journal, blobs, keys."""
