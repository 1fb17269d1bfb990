"""The compression problem as one scorer with three skins, and the accuracy proxies that it is scored by."""

import gymnasium

gymnasium.register(id="espalier/Compression-v0", entry_point="envs.compression_env:CompressionEnv")
