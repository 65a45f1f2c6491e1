# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a sender that holds an RRset accepts a chain, and for how long things are held and met.

Shares no code with what it judges, and not even its words: an RRset is a set of texts such as ``311A``, the parameter
combination 3 1 1 of key A; a chain is a text such as ``Ax``: the key (capital), then those who vouch for it (small). A
renewed certificate of the same key is ``A2``, and only ``301A2`` speaks of it.
"""

from __future__ import annotations


def suits(word, chain):
    """Whether one record matches one chain: usage 3 speaks of the key, usage 2 of an issuer (RFC 7671 section 5)."""
    if word[0] != "3":
        return word[3] in chain[1:]
    certificate = "".join(letter for letter in chain if letter.isdigit())
    return word[3] == chain[0] and (word[1] == "1" or word[4:] == certificate)


def usable(rrset):
    """What senders heed for SMTP (RFC 7672 section 3.1.3)."""
    return {word for word in rrset if word[0] in "23" and word[1] in "01" and word[2] in "012"}


def missed(rrset, chain):
    """The parameter combinations without a record of this chain: strictly there is none (RFC 7671 section 8)."""
    heeded = usable(rrset)
    return {word[:3] for word in heeded} - {word[:3] for word in heeded if suits(word, chain)}


def strict(rrset, chain):
    """Every parameter combination has a record of this chain."""
    return not missed(rrset, chain)


def verifier(rrset, chain):
    """What clients do: of each usage and selector the strongest digest, and then any match (RFC 7671 section 9)."""
    strongest = {}
    for word in usable(rrset):
        # Full is no digest: it is always looked at.
        strongest[word[:2]] = max(word[2], strongest.get(word[:2], "0"))
    return any(suits(word, chain) for word in usable(rrset) if word[2] in ("0", strongest[word[:2]]))


def lifetime(ttls, factor=1, floor=0, slack=0):
    """How long a sender may hold an answer that it got by this path: a cached alias leads to a late lookup, so the
    TTLs add up, and so does what says that there is nothing (RFC 8198)."""
    return max(factor * sum(ttls), floor) + slack


def accepted(rrset, chain, empty_is_fine):
    """How a sender fares with this pair: the readings by which it would refuse (frozenset)."""
    if not usable(rrset):
        return frozenset() if empty_is_fine else frozenset({"no record"})
    refused = {f"no match in {combination}" for combination in missed(rrset, chain)}
    if not verifier(rrset, chain):
        refused.add("no match")
    return frozenset(refused)


def mismatch(rrsets, chains, empty_is_fine=False, borne=frozenset()):
    """The first RRset that may be held with the first chain that may be met and refuses it, or None.

    :param borne: the readings by which senders refused this host before: worse than that it must not become.
    """
    for rrset in rrsets:
        for chain in chains:
            worse = accepted(rrset, chain, empty_is_fine) - borne
            if worse:
                return " ".join(sorted(rrset)) or "no record", chain, ", ".join(sorted(worse))
    return None
