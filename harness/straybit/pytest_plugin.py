"""The pytest plugin: fixtures, options and a replay line on every failure."""
