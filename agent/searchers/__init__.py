"""The searchers: one file each, one protocol, one registry."""
