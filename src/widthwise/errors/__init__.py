"""One family of errors, and the checks that raise them.

Every message says three things: which argument, what it got, what is allowed. The command line turns any
:class:`InputError` or :class:`InputTypeError` into one line and exit code 2; anything else is a bug.
"""

from widthwise.errors.kinds import CollapseError, CollapseWarning, DataError, InputError, InputTypeError
from widthwise.errors.numbers import check_depth, check_integer, check_number, check_threads
from widthwise.errors.theirs import place_of, summary_of, told
from widthwise.errors.values import check_choice, check_finite, check_flag, check_function, check_path, check_type
from widthwise.errors.words import outlined, shown

__all__ = [
    "CollapseError",
    "CollapseWarning",
    "DataError",
    "InputError",
    "InputTypeError",
    "check_choice",
    "check_depth",
    "check_finite",
    "check_flag",
    "check_function",
    "check_integer",
    "check_number",
    "check_path",
    "check_threads",
    "check_type",
    "outlined",
    "place_of",
    "shown",
    "summary_of",
    "told",
]
