"""The dynamics of the environment, once, for a batch: all episodes stand in front of the same layer."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from envs.conditions import Conditions
from envs.observation import EpisodeState, Observations, Observer
from envs.problem import Metrics
from plan.assignment import FloatArray, IntArray
from plan.errors import IllegalChoiceError, InvalidValueError
from plan.space import DENSITIES, DENSITY, METHOD, UNDECIDED, Choices


@dataclass(frozen=True)
class Outcome:
    """Finished episodes: choices int16 (B, L, 4), what they cost, and what they were played for."""

    choices: Choices
    metrics: Metrics
    conditions: Conditions

    @property
    def rates(self) -> FloatArray:
        """Exchange rates, (B,)."""
        return self.conditions.rates


class Episodes:
    """A batch of episodes in lockstep, one pass over the layers each.

    `begin` starts them, `step` decides one layer of every plan. After the last layer `outcome` holds the result and
    nothing but `begin` may follow.
    """

    def __init__(self, observer: Observer, n_plans: int) -> None:
        self.observer = observer
        self.problem = observer.problem
        self.n_plans = n_plans
        self.outcome: Outcome | None = None
        self._state: EpisodeState | None = None
        self._potential = np.zeros(n_plans)

    @property
    def state(self) -> EpisodeState:
        """Where the episodes stand.

        Raises:
            InvalidValueError: no episode is under way.
        """
        if self._state is None:
            raise InvalidValueError("no episode is under way; call reset first")
        return self._state

    def begin(self, rates: FloatArray, mixes: IntArray | None = None, limits: FloatArray | None = None) -> Observations:
        """Starts all episodes and returns the first observations, float32 (B, F).

        Args:
            rates: (B,) exchange rates.
            mixes: (B,) rows of `MIXES`, the problem's own objective when None.
            limits: (B, 4) on energy_uj, latency_ms, size_kb and error, none when None.

        Raises:
            InvalidValueError: conditions of another number, or out of range.
        """
        conditions = Conditions.of(self.problem, np.asarray(rates), mixes, limits)
        if len(conditions) != self.n_plans:
            raise InvalidValueError(f"exchange rates must be {self.n_plans} positive numbers, found {rates!r}")
        space = self.problem.space
        choices = np.full((self.n_plans, space.n_layers, 4), UNDECIDED, dtype=np.int16)
        self._state = EpisodeState(
            layer=0,
            choices=choices,
            kept=np.ones((self.n_plans, len(self.problem.network.groups))),
            totals=np.repeat(self.problem.table.start[None], self.n_plans, axis=0),
            conditions=conditions,
            rows=self.observer.hints.rows(conditions.rates, conditions.mixes),
            mask=space.method_mask(choices, 0),
        )
        self.outcome = None
        self._potential = self.observer.potential(self._state, self._state.totals, 0)
        return self.observer.observe(self._state)

    def step(self, methods: IntArray, values: NDArray[np.floating]) -> tuple[Observations, FloatArray]:
        """Decides the current layer of every plan and returns the next observations (B, F) and rewards (B,).

        Args:
            methods: (B,) indices of legal methods.
            values: (B, 3) in [0, 1]: density, weight bits, activation bits.

        Raises:
            IllegalChoiceError: a method that the mask forbids.
            InvalidValueError: values outside [0, 1] or arrays of another shape.
        """
        state, space = self.state, self.problem.space
        self._check(state, methods, values)
        chosen = space.from_unit(state.layer, methods, values, state.choices)
        state.choices[:, state.layer] = chosen
        differences = self.problem.table.differences(state.layer, chosen)
        differences[:, :3] *= self.observer.remaining(state)[:, None]
        state.totals[:] += differences
        self._keep(state, chosen)
        if state.layer + 1 == space.n_layers:
            return self._finish(state)
        mask = space.method_mask(state.choices, state.layer + 1)
        self._state = replace(state, layer=state.layer + 1, mask=mask)
        value = self.observer.potential(state, state.totals, state.layer + 1)
        return self.observer.observe(self._state), self._paid(value)

    def _finish(self, state: EpisodeState) -> tuple[Observations, FloatArray]:
        """Returns closing observations (zeros) and the rewards that make every episode's sum exact."""
        metrics = self.problem.evaluate(state.choices)
        self.outcome = Outcome(state.choices, metrics, state.conditions)
        exact = np.column_stack((metrics.costs(), metrics.error))
        rewards = self._paid(self.observer.potential(state, exact, self.problem.space.n_layers))
        self._state = None
        return np.zeros((self.n_plans, self.observer.size), dtype=np.float32), rewards

    def _paid(self, value: FloatArray) -> FloatArray:
        reward = self._potential - value
        self._potential = value
        return reward

    def _keep(self, state: EpisodeState, chosen: Choices) -> None:
        """Notes what the current layer's choice leaves of the channel groups that it may decide."""
        space, method = self.problem.space, chosen[:, METHOD]
        for groups, flags in (
            (space.deciders.producer_group, space.geometry.is_filter),
            (space.deciders.consumer_group, space.geometry.is_channel),
        ):
            group = int(groups[state.layer])
            if group >= 0:
                pruned = flags[method]
                state.kept[pruned, group] = DENSITIES[chosen[pruned, DENSITY]]

    def _check(self, state: EpisodeState, methods: IntArray, values: NDArray[np.floating]) -> None:
        if methods.shape != (self.n_plans,) or values.shape != (self.n_plans, 3):
            raise InvalidValueError(
                f"actions must be methods ({self.n_plans},) and values ({self.n_plans}, 3), "
                f"found {methods.shape} and {values.shape}"
            )
        if not ((values >= 0) & (values <= 1)).all():
            raise InvalidValueError("action values must lie in [0, 1]; clip or squash the actor's output")
        known = (methods >= 0) & (methods < state.mask.shape[1])
        legal = known.all() and state.mask[np.arange(self.n_plans), methods].all()
        if not legal:
            self._refuse(state, methods)

    def _refuse(self, state: EpisodeState, methods: IntArray) -> None:
        """Raises the error that names the first illegal method."""
        space, name = self.problem.space, self.problem.network.layers[state.layer].name
        for mask, method in zip(state.mask, methods.tolist(), strict=True):
            if not (0 <= method < len(mask) and mask[method]):
                allowed = ", ".join(f"{index} {space.methods[index]}" for index in np.flatnonzero(mask))
                raise IllegalChoiceError(
                    f"layer {name}: method {method} is masked (legal: {allowed}); sample from action_masks()"
                )
