"""What can go wrong on a link, and the proxy that does it."""
