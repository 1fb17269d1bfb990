"""Channel groups while they are being found: spans of channels along one axis of a tensor, joined and frozen."""

from __future__ import annotations

from dataclasses import dataclass, field

from plan.layer import InputSegment


@dataclass(frozen=True)
class Span:
    """A run of `channels` channels of one provisional group, each `repeat` entries long."""

    group: int
    channels: int
    repeat: int = 1

    @property
    def length(self) -> int:
        """Number of entries along the axis."""
        return self.channels * self.repeat


@dataclass(frozen=True)
class ChannelAxis:
    """The dimension of a tensor that holds channels, and what lies along it."""

    dim: int
    spans: tuple[Span, ...]

    @property
    def length(self) -> int:
        """Number of entries along the axis."""
        return sum(span.length for span in self.spans)


@dataclass
class GroupTable:
    """Provisional groups: a forest of joined sets, each with a size and perhaps a reason why it is frozen."""

    _parent: list[int] = field(default_factory=list)
    _channels: list[int] = field(default_factory=list)
    _frozen: list[str] = field(default_factory=list)

    def new(self, channels: int, frozen: str = "") -> Span:
        """Returns a span over a new group."""
        self._parent.append(len(self._parent))
        self._channels.append(channels)
        self._frozen.append(frozen)
        return Span(len(self._parent) - 1, channels)

    def root(self, group: int) -> int:
        """Returns the group's representative, the oldest one joined."""
        while self._parent[group] != group:
            self._parent[group] = self._parent[self._parent[group]]
            group = self._parent[group]
        return group

    def channels(self, group: int) -> int:
        """Returns the number of channels."""
        return self._channels[self.root(group)]

    def frozen(self, group: int) -> str:
        """Returns why channels may not be removed, empty when they may."""
        return self._frozen[self.root(group)]

    def freeze(self, spans: tuple[Span, ...], reason: str) -> None:
        """Forbids removal in every group of the spans; the first reason is kept."""
        for span in spans:
            root = self.root(span.group)
            self._frozen[root] = self._frozen[root] or reason

    def join(self, first: tuple[Span, ...], second: tuple[Span, ...], what: str) -> None:
        """Makes both be removed together; freezes them where their spans do not pair up."""
        lengths = [[(span.channels, span.repeat) for span in spans] for spans in (first, second)]
        if lengths[0] != lengths[1]:
            self.freeze(first + second, f"{what} joins channels that are divided differently")
            return
        for one, other in zip(first, second, strict=True):
            older, younger = sorted((self.root(one.group), self.root(other.group)))
            if older != younger:
                self._parent[younger] = older
                self._frozen[older] = self._frozen[older] or self._frozen[younger]

    def segments(self, spans: tuple[Span, ...], number: dict[int, int]) -> tuple[InputSegment, ...]:
        """Returns the spans in the plan's vocabulary; `number` maps representatives to final group indices."""
        return tuple(InputSegment(number[self.root(span.group)], span.channels, span.repeat) for span in spans)
