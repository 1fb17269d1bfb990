"""Networks, their weights and data, and their translation to the vocabulary of `plan`."""
