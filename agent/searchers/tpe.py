"""The tree-structured Parzen estimator (Bergstra et al. 2011), by optuna.

One number is minimised: the objective, and where limits are broken 1 plus their total relative excess. Settings are
optuna's: 24 candidates per number, the first 10 plans random.
"""

from __future__ import annotations

import numpy as np

from agent.searchers.extra import needs
from agent.searchers.genome import decode, encode
from agent.searchers.scored import Scorer
from plan.budget import Budget

WARM_TRIALS = 16


def explore(scorer: Scorer, limits: Budget, seed: int) -> None:
    """Asks for one plan after the other until nothing is left; those of the warm start come first."""
    needs("optuna", "tpe")
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = scorer.problem.space
    names = [f"{layer:03d}-{part}" for layer in range(space.n_layers) for part in range(4)]
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    known = encode(space, scorer.warm)
    for row in known[np.linspace(0, len(known) - 1, min(len(known), WARM_TRIALS)).round().astype(np.int64)]:
        study.enqueue_trial({name: float(value) for name, value in zip(names, row, strict=True)})
    while scorer.left > 0:
        trial = study.ask()
        genome = np.array([[trial.suggest_float(name, 0.0, 1.0) for name in names]])
        scores = scorer.score(decode(space, genome))
        broken = float(scores.violation(limits)[0])
        study.tell(trial, 1.0 + broken if broken else float(scores.objective[0]))
