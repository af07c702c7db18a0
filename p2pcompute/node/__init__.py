"""One running peer: the effect loop on trio and the composition root."""
