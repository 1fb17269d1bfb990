"""Analytical accelerator models: energy, latency and stored size of every layer of a batch of plans (numpy only)."""
