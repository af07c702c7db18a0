"""The libp2p host and our TCP + Noise + yamux stack under it."""
