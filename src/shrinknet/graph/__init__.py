"""Which channels belong together: labels flow through the network, with one small rule for each kind of operation."""

from shrinknet.graph.calls import Call, rule
from shrinknet.graph.channels import ChannelGraph, Weight
from shrinknet.graph.declare import elementwise, movement, per_channel
from shrinknet.graph.tracing import trace

__all__ = ["Call", "ChannelGraph", "Weight", "elementwise", "movement", "per_channel", "rule", "trace"]
