"""Choose which weights live: scores, allocation, collapse, and :func:`prune` that joins them."""
