"""The searchers, one file each; `registry` knows all of them by name."""
