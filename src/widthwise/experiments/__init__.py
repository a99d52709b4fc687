"""Every figure and table of the papers by its name, at three scales: ``smoke``, ``small`` and ``paper``."""

__all__: list[str] = []
