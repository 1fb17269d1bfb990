"""The vocabulary of Espalier and its artefact: layers, schemes, the decision space, storage, budgets and plan.json."""
