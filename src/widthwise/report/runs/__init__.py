"""Reports on runs that lie in files: comparisons, experiments of papers, sweeps."""

from __future__ import annotations

import os
from collections.abc import Iterable

from widthwise.report.html import write_page
from widthwise.report.part import Part, page_of
from widthwise.report.runs.find import find_parts

__all__ = ["find_parts", "report_runs", "write_runs"]


def report_runs(runs: Iterable[str | os.PathLike[str]], *, metric: str | None = None) -> str:
    """One HTML page on everything that folders and files hold.

    A comparison alone gives the page that ``widthwise compare`` wrote beside it.

    Args:
        runs: folders or files that ``compare``, ``reproduce`` or ``sweep`` has written.
        metric: of stores, the result to explain; by default the most usual one that there is.

    Raises:
        InputError: if nothing is given, or something that is not there; or the metric is unknown.
        DataError: if a file is damaged, or a file or folder holds nothing of ours.
        OSError: if a file cannot be read.
    """
    return page_of(find_parts(runs, metric))


def write_runs(
    runs: Iterable[str | os.PathLike[str]], path: str | os.PathLike[str], *, metric: str | None = None
) -> list[Part]:
    """Write the page of :func:`report_runs` to ``path``, whole or not at all.

    Args:
        runs: files or folders that ``compare``, ``reproduce`` or ``sweep`` wrote.
        path: the page.
        metric: the result of a sweep to explain; by default the most usual one.

    Returns:
        What it reports on.

    Raises:
        InputError: as above, or if ``path`` is a folder.
        DataError: if a file is damaged, or a file or folder holds nothing of ours.
        OSError: if a file cannot be read or written.
    """
    parts = find_parts(runs, metric)
    write_page(page_of(parts), path)
    return parts
