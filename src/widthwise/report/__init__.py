"""Everything that shows runs to people: tables, plots, and the page on one comparison or on whatever was stored."""

from widthwise.report.distribution import distribution
from widthwise.report.files import write_folder
from widthwise.report.html import html_report, write
from widthwise.report.runs import report_runs, write_runs
from widthwise.report.table import rich_table, rows_as_dicts, to_csv, to_json
from widthwise.report.verdict import Answer, Claim, answer

__all__ = [
    "Answer",
    "Claim",
    "answer",
    "distribution",
    "html_report",
    "report_runs",
    "rich_table",
    "rows_as_dicts",
    "to_csv",
    "to_json",
    "write",
    "write_folder",
    "write_runs",
]
