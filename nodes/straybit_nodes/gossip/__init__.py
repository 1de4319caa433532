"""The gossip protocol: a pure core beside its server."""
