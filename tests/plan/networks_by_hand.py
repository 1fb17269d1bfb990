"""Small networks whose numbers can be checked in the head."""

from plan.capabilities import Capabilities
from plan.layer import ChannelGroup, InputSegment, Layer, Network
from plan.scheme import BlockColumn, BlockPunched, BlockRow, Channel, Dense, Element, Filter, Kernel, NofM, Pattern

EVERYTHING = Capabilities(
    granularities=(
        Dense(),
        Element(),
        NofM(2, 4),
        Kernel(),
        Pattern(4),
        BlockPunched(4, 1),
        BlockRow(2, 8),
        BlockColumn(2, 8),
        Channel(),
        Filter(),
    ),
    weight_bits=tuple(range(2, 9)),
    activation_bits=tuple(range(2, 9)),
    storage_formats=("dense", "bitmask", "block", "n:m", "pattern"),
)


def conv(name: str, outputs: int, inputs: int, reads: str, writes: str | None, groups: tuple[int, int]) -> Layer:
    """Returns a 3x3 convolution on 8x8 pixels that reads the first group and writes the second."""
    segments = (InputSegment(groups[0], inputs),)
    return Layer(name, "conv", outputs, inputs, 3, 3, 8, 8, 8, 8, 1, 1, reads, writes, segments, groups[1])


def chain() -> Network:
    """Returns image -> c1 (16) -> c2 (32) -> fc (10), every hidden group prunable."""
    layers = (
        conv("c1", 16, 3, "image", "a", (0, 1)),
        conv("c2", 32, 16, "a", "b", (1, 2)),
        Layer("fc", "linear", 10, 32, 1, 1, 1, 1, 1, 1, 1, 1, "b", None, (InputSegment(2, 32),), 3),
    )
    groups = (
        ChannelGroup("image", 3, (), (0,), "network input"),
        ChannelGroup("c1", 16, (0,), (1,)),
        ChannelGroup("c2", 32, (1,), (2,)),
        ChannelGroup("fc", 10, (2,), (), "network output"),
    )
    return Network("chain", (3, 8, 8), layers, groups, ((0, 1), (1, 2)))


def residual() -> Network:
    """Returns stem -> (c1 -> c2) + stem -> head; stem and c2 share a group, c1 and head read tensors a and c."""
    layers = (
        conv("stem", 8, 3, "image", "a", (0, 1)),
        conv("c1", 8, 8, "a", "b", (1, 2)),
        conv("c2", 8, 8, "b", "c", (2, 1)),
        conv("side", 8, 8, "a", None, (1, 3)),
        conv("head", 8, 8, "c", None, (1, 3)),
    )
    groups = (
        ChannelGroup("image", 3, (), (0,), "network input"),
        ChannelGroup("stream", 8, (0, 2), (1, 3, 4)),
        ChannelGroup("c1", 8, (1,), (2,)),
        ChannelGroup("out", 8, (3, 4), (), "network output"),
    )
    return Network("residual", (3, 8, 8), layers, groups, ((0, 1), (1, 2), (0, 3), (0, 4), (2, 4)))
