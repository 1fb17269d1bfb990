"""Speed benchmarks, each a module that prints what it measured."""
