"""Schemes turned into tensors: prune, quantise, repair, measure, apply, verify and export."""
