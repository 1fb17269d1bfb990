"""Espalier from Python: state a problem, search it, look at the plan, apply it.

>>> import espalier
>>> task = espalier.problem("net.py:build", "eyeriss", data="data.npz", weights="none", max_drop=20.0)
>>> run = espalier.search(task, steps=300, evaluations=4, out="first-run")
>>> run.plan.savings["energy"] > 0
True
>>> network = espalier.apply(run.plan, net="net.py:build")
>>> network(torch.zeros(1, 3, 12, 12)).shape
torch.Size([1, 3])
"""

from espalier.costs import costs
from espalier.plans import Plan, apply
from espalier.problems import Problem, problem
from espalier.runs import Run, search

__all__ = ["Plan", "Problem", "Run", "apply", "costs", "problem", "search"]
