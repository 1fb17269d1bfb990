"""Preset files: one TOML file a hardware, every number with its unit in the key and a source in its section."""
