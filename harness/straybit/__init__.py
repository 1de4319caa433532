"""Flips one bit of one message on its way, and says who noticed, how far it spread and how long recovery took."""
