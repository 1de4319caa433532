"""The reference cluster: storage nodes, gossip nodes and load balancers, modelled on Amazon S3 in 2008."""
