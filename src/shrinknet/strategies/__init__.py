"""Strategies choose which filters to try next: the protocol, one file per strategy, and loading and checking them.

NumPy only: a strategy never sees Keras.
"""

from shrinknet.strategies.answers import Batch, checked_ask, take
from shrinknet.strategies.memory import Memory
from shrinknet.strategies.protocol import Network, Strategy
from shrinknet.strategies.registry import load_strategy, strategies
from shrinknet.strategies.vectors import Peers, norms, peers

__all__ = [
    "Batch",
    "Memory",
    "Network",
    "Peers",
    "Strategy",
    "checked_ask",
    "load_strategy",
    "norms",
    "peers",
    "strategies",
    "take",
]
