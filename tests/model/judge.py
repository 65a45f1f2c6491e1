# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a sender that holds an RRset accepts a chain. Shares no code with what it judges.

An RRset is a set of words such as ``311A``: the parameter combination 3 1 1 of key A. A chain is the letter of its key.
"""

from __future__ import annotations


def strict(rrset, key):
    """Every parameter combination has a record of this key (RFC 7671 section 8)."""
    return all(word[:3] + key in rrset for word in rrset)


def verifier(rrset, key):
    """What clients do: of each usage and selector the strongest digest, and then any match (RFC 7671 section 9)."""
    strongest = {}
    for word in rrset:
        strongest[word[:2]] = max(word[2], strongest.get(word[:2], "0"))
    return any(word[3:] == key for word in rrset if word[2] == strongest[word[:2]])


def mismatch(rrsets, keys, empty_is_fine, accepts=(strict, verifier)):
    """The first RRset that may be held with the first key that may be met and refuses it, or None."""
    for rrset in rrsets:
        for key in keys:
            if not rrset and not empty_is_fine:
                return "no record", key
            if rrset and not all(accept(rrset, key) for accept in accepts):
                return " ".join(sorted(rrset)), key
    return None
