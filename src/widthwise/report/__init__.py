"""Everything that shows a comparison to people: table, plots, and the page."""

from widthwise.report.distribution import distribution
from widthwise.report.files import write_folder
from widthwise.report.html import html_report, write
from widthwise.report.table import rich_table, rows_as_dicts, to_csv, to_json
from widthwise.report.verdict import Answer, Claim, answer

__all__ = [
    "Answer",
    "Claim",
    "answer",
    "distribution",
    "html_report",
    "rich_table",
    "rows_as_dicts",
    "to_csv",
    "to_json",
    "write",
    "write_folder",
]
