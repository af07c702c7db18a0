"""Who is who: ed25519 keys, peer ids, did:key, delegations. Pure."""
