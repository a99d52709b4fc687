"""How wide a network should be: which width spends a budget of weights best, foretold before training."""

from widthwise.width.choice import MOST_DRAWN, Candidate, WidthChoice, best_width
from widthwise.width.sizes import capacity, divided, narrowest

__all__ = ["MOST_DRAWN", "Candidate", "WidthChoice", "best_width", "capacity", "divided", "narrowest"]
