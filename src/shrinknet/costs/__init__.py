"""What a network costs: parameters, multiply-adds, bytes, activation memory, and measured latency."""

from shrinknet.costs.counting import cost, graph_cost, known_cost, switch_state
from shrinknet.costs.timing import latency

__all__ = ["cost", "graph_cost", "known_cost", "latency", "switch_state"]
