"""Campaigns: many trials over a space of flips, ending in a map of dangerous bits.

`space` says which bits a message has and plans flips over them, `stepped` plays one trial on a `stage`,
`conduct` plays a plan on an executor and keeps every outcome, and `map` is what they add up to.
"""
