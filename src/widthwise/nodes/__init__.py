"""Nodes of a trained model: rank them, remove them, carry them over to another task."""

from widthwise.nodes.groups import NodeGroup, node_groups
from widthwise.nodes.importance import importance, most_important
from widthwise.nodes.removal import remove_nodes, risk_curve
from widthwise.nodes.transfer import NodeFeatures, train_heads, transfer

__all__ = [
    "NodeFeatures",
    "NodeGroup",
    "importance",
    "most_important",
    "node_groups",
    "remove_nodes",
    "risk_curve",
    "train_heads",
    "transfer",
]
