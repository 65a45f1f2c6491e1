# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fields of what was written as JSON and is read again: checked, and refused in words.

Pure, standard library only. Private to this collection. Ledgers are edited by hand and damaged by disks: what is read
wrong is forgotten, or is seen for ever. Each function returns the value or raises one of ``MALFORMED``, which the caller
turns into an error that names the whole (see :func:`cause`).
"""

from __future__ import annotations

from ._errors import RecordError
from ._tlsa import Record

MALFORMED = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecordError)


def cause(exc):
    """What one of ``MALFORMED`` says is wrong (str)."""
    return f"{exc} is missing" if isinstance(exc, KeyError) else str(exc)


def text(value):
    """A text that can be written down again (str)."""
    if not isinstance(value, str):
        raise TypeError(f"expected a text, found {value!r:.60}")
    # A lone surrogate could not.
    value.encode()
    return value


def items(value):
    """A list or tuple."""
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"expected a list, found {value!r:.60}")
    return value


def texts(value):
    """A list of texts (list of str)."""
    return [text(one) for one in items(value)]


def records(value):
    """TLSA records in presentation form, as brief ones (frozenset of Record)."""
    return frozenset(Record.parse(one).brief() for one in texts(value))


def seconds(value):
    """A time, or a duration, in seconds (float)."""
    # Every comparison with NaN is false, and so would end every wait; and what went before 1970 is gone for good.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e11:
        raise TypeError(f"expected seconds, found {value!r:.60}")
    return float(value)


def seconds_or_none(value):
    """The same, or None."""
    return None if value is None else seconds(value)


def whole_number(value):
    """A whole number that is not negative, such as a TTL (int)."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 40:
        raise TypeError(f"expected a whole number that is not negative, found {value!r:.60}")
    return value
