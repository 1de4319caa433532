"""The proxy: Toxiproxy's API on an epoll loop of its own, with toxics that know bits and messages."""
