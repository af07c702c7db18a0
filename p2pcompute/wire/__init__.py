"""What travels: schemas, canonical codec, limits, Merkle trees. Pure."""
