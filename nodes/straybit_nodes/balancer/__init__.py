"""The load balancer: a gossip member that relays requests to storage nodes, and the alarm on its kind."""
