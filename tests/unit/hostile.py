# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What people, disks and enemies make of input, for property tests; and how an error has to look."""

from __future__ import annotations

import copy
import re

from ansible_collections.mailops.dane.plugins.module_utils._errors import DaneError
from hypothesis import settings
from hypothesis import strategies as st


def examples(count):
    """The setting for a test that needs fewer examples than usual (or more); DANE_EXAMPLES multiplies it as well."""
    return settings(max_examples=max(1, count * settings().max_examples // 100))


#: Values that JSON and YAML can bring where something else was expected, each of them a classic.
ODD = (
    None, True, False, 0, 1, -1, 2**31, 2**64, 10**400, 0.5, -0.0, float("nan"), float("inf"), float("-inf"), 1e308,
    "", " ", "0", "1", "-1", "true", "no", "null", "nan", "x", "ä", "\u0661", "\ud800", "\x00", "a\x00b", "a\nb",
    "../..", "sha256:", "3 1 1 " + "ab" * 32, "x" * 5000, "9" * 5000, [], {}, [None], [1], ["x"], [[]], [{}], {"x": 1},
    {"": None},
)

odd = st.sampled_from(ODD)

#: Any JSON value.
json_values = st.recursive(
    odd | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3), max_leaves=8)


def places(value, path=()):
    """The path to every value within a JSON value, itself first (list of tuple)."""
    found = [path]
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    for key, below in inner:
        found += places(below, path + (key,))
    return found


def at(value, path):
    """What stands at a path."""
    for key in path:
        value = value[key]
    return value


def changed(value, path, new):
    """A copy with another value at a path."""
    if not path:
        return new
    made = copy.deepcopy(value)
    at(made, path[:-1])[path[-1]] = new
    return made


def without(value, path):
    """A copy without what stands at a path."""
    made = copy.deepcopy(value)
    del at(made, path[:-1])[path[-1]]
    return made


@st.composite
def hand_edited(draw, whole):
    """A JSON value that somebody has edited: (the value, where, what is there now or ``without`` or ``more``)."""
    where = draw(st.sampled_from(places(whole)))
    how = draw(st.sampled_from(("value", "value", "value", "without", "more")))
    if how == "without" and where:
        return without(whole, where), where, how
    if how == "more" and isinstance(at(whole, where), dict):
        name = draw(st.sampled_from(("comment", "", "note")))
        return changed(whole, where, {**at(whole, where), name: draw(odd)}), where, how
    new = draw(odd | json_values)
    return changed(whole, where, new), where, new


def check_message(error):
    """An error says what could not be done with what, in one line that a person can read.

    "Cannot <verb> <object>: <cause>", the project's form.
    """
    if not isinstance(error, DaneError):
        raise AssertionError(f"{type(error).__name__} instead of one of the project's errors: {error}") from error
    message = error.message
    assert re.match(r"Cannot \w+ .", message, re.DOTALL), message[:300]
    assert "Traceback" not in message and "object at 0x" not in message, message[:300]
    # What was given may be quoted once or twice, however long it is.
    assert len(message) < 12000, f"{len(message)} characters: {message[:300]}"


def refusal_or(call, *arguments, **options):
    """The value of a call, or None when it refused in the project's way; anything else raised is a defect."""
    try:
        return call(*arguments, **options)
    except Exception as exc:
        check_message(exc)
        return None
