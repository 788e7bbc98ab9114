"""One small rule for each kind of operation: what its channels are, whom they hang together with, who reads them.

- readers: multiply their input's channels by a kernel and make new ones;
- channelwise: have weights, or statistics, for each channel;
- elementwise: treat each number by itself, or tie several tensors place by place;
- spatial: mix places, never channels;
- movement: move numbers without changing them: run on the labels themselves;
- refused: mix channels in a way that nothing can be cut out of; each with its reason.
"""

from shrinknet.graph.rules import channelwise, elementwise, movement, readers, refused, spatial
from shrinknet.graph.rules.refused import unknown

__all__ = ["channelwise", "elementwise", "movement", "readers", "refused", "spatial", "unknown"]
