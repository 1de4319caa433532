"""A flipped bit in a gossip message: who notices, does it spread, how long until all is well again?"""

from straybit import BitFlip


def test_gossip_rejects_a_flipped_version(cluster):
    flip = BitFlip("gossip-1:gossip-2", message="state", field="version", bit=62)
    with cluster.trial(flip) as trial:
        trial.expect_detected(by="gossip-crc", within_s=2)
    trial.expect_contained()
    trial.expect_recovered(within_s=5)
