"""One small rule for each kind of operation: which channels it makes, which it ties together, and which it reads.

- readers: multiply the channels of their input by a kernel and produce new channels;
- channelwise: have weights or statistics for each channel;
- elementwise: treat each number by itself, or combine several tensors position by position and tie their channels;
- spatial: mix positions, not channels; or reduce either (reducing: some of the channels only);
- movement: move numbers without changing them; these are run on the labels themselves;
- refused: mix channels so that none can be cut exactly; each gives its reason.
"""

from shrinknet.graph.rules import channelwise, elementwise, movement, readers, refused, spatial
from shrinknet.graph.rules.refused import unknown

__all__ = ["channelwise", "elementwise", "movement", "readers", "refused", "spatial", "unknown"]
