"""Which channels hang together: labels flow through the network, one small rule for each kind of operation."""

from shrinknet.graph.calls import Call, rule
from shrinknet.graph.channels import ChannelGraph, Weight, trace

__all__ = ["Call", "ChannelGraph", "Weight", "rule", "trace"]
