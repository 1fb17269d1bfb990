"""The searchers, and every command: `python -m agent.train`, `search`, `evaluate`, `apply`."""
