"""Benchmarks, studies and reproductions: everything that measures Espalier rather than being it."""
