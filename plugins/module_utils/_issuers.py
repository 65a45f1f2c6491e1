# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The issuers that a host's own chains had: authorities take one of several intermediates, often at random per order.

A record on an issuer (usage 2) that went with the last certificate of that issuer would be missed at the next renewal,
which may bring the issuer back. So each issuer is remembered for a while after it was last in a chain of the host.

Pure, standard library only. Private to this collection. Digests only. Times are seconds since the epoch (float).
"""

from __future__ import annotations

from typing import NamedTuple, Tuple

from . import _fields
from ._errors import LedgerError
from ._tlsa import DANE_TA, FULL, Record

#: Twice the longest time between two renewals of today's 90-day certificates would do; three times is cheap.
KEEP_SECONDS = 180 * 86400


class Issuers(NamedTuple):
    """``seen``: records of issuers (usage 2), each with the time at which it was last in a chain of the host's own files."""

    seen: Tuple[Tuple[Record, float], ...] = ()

    def records(self):
        """The records of all that are remembered (frozenset of Record)."""
        return frozenset(record for record, _last in self.seen)

    def noted(self, records, now):
        """The same memory with these issuers seen ``now``, and without those that were not seen for ``KEEP_SECONDS``.

        :param records: of usage 2 over a digest. :raises LedgerError: others.
        """
        last = {**dict(self.seen), **{_checked(record): now for record in records}}
        return Issuers(tuple(sorted((record, at) for record, at in last.items() if now - at < KEEP_SECONDS)))

    def without(self, records):
        """The same memory without these."""
        return Issuers(tuple(entry for entry in self.seen if entry[0] not in records))

    def moved(self, ahead, now):
        """The same memory by a clock that has jumped ahead (seconds) and now shows ``now``: a jump must not forget."""
        return Issuers(tuple((record, min(at + ahead, now)) for record, at in self.seen))

    def to_list(self):
        """The JSON form, for the ledger: ``[[text of a record, time], ...]``."""
        return [[str(record), at] for record, at in self.seen]

    @classmethod
    def from_list(cls, data):
        """Read the JSON form.

        :raises LedgerError: it is not that, or something is in it twice.
        """
        try:
            seen = tuple(sorted((_checked(Record.parse(_fields.text(text))), _fields.seconds(at))
                                for text, at in _fields.items(data)))
        except _fields.MALFORMED as exc:
            raise LedgerError(f"Cannot read the issuers in the ledger: {_fields.cause(exc)}") from exc
        if len(dict(seen)) != len(seen):
            raise LedgerError("Cannot read the issuers in the ledger: one is listed twice")
        return cls(seen)


def _checked(record):
    # What is remembered here gets published: nothing but the digest of an issuer may slip in.
    if record.usage != DANE_TA or record.mtype == FULL:
        raise LedgerError(f"Cannot remember {str(record)!r:.100} as an issuer: expected usage 2 and a digest")
    return record
