# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ledger: all that a host remembers of what may be seen, what is ours, and what has been begun.

Pure, standard library only. Private to this collection. A value with a JSON form; ``_gate`` keeps it in a file under a
lock. Digests only. Times are seconds since the epoch (float).
"""

from __future__ import annotations

from typing import FrozenSet, NamedTuple, Optional, Tuple

from . import _fields
from ._errors import LedgerError
from ._issuers import Issuers
from ._memory import Chains, Name
from ._tlsa import Record

LEDGER_FORMAT = 3


class Operation(NamedTuple):
    """What a run has begun: written before the first change and cleared after the last.

    ``target_spki`` is empty until the next key exists, then its digest: a re-run goes on with that key and no other.
    """

    id: str
    kind: str
    target_spki: str
    started: float

    @classmethod
    def from_dict(cls, data):
        """Read the JSON form; None is None.

        :raises LedgerError: it is not that.
        """
        if data is None:
            return None
        try:
            return cls(_fields.text(data["id"]), _fields.text(data["kind"]), _fields.text(data["target_spki"]),
                       _fields.seconds(data["started"]))
        except _fields.MALFORMED as exc:
            raise LedgerError(
                f"Cannot read operation {data!r:.80}: expected id, kind, target_spki and started (seconds): "
                f"{_fields.cause(exc)}") from exc


class Clock(NamedTuple):
    """What a host knows of the time: ``wall`` (epoch seconds), ``boot`` (an id of this boot) and ``uptime`` (seconds)."""

    wall: float
    boot: str
    uptime: float


class Ledger(NamedTuple):
    """All that a host remembers, digests only.

    ``published``: the records we published or adopted, by owner name: nothing else is ever withdrawn.
    ``retired``: keys that were served once and replaced: they are never published or deployed again.
    ``clock``: when it was written. ``issuers``: those that the host's own chains had lately.
    """

    names: Tuple[Name, ...] = ()
    chains: Chains = Chains()
    operation: Optional[Operation] = None
    published: Tuple[Tuple[str, FrozenSet[Record]], ...] = ()
    retired: FrozenSet[str] = frozenset()
    clock: Optional[Clock] = None
    issuers: Issuers = Issuers()

    def at(self, clock):
        """The ledger as read at ``clock`` (:class:`Clock`), with its stamps put right where the wall clock has jumped.

        Only so much time has passed for sure as the computer has been running. By what the wall clock says beyond that
        the stamps move on, too, so that a jump ahead shortens no wait; nor does one back, as no stamp is of the future.
        """
        jump = 0.0
        if self.clock is not None:
            sure = clock.uptime - (self.clock.uptime if clock.boot == self.clock.boot else 0.0)
            jump = clock.wall - self.clock.wall - sure
        ahead, behind = max(0.0, jump), max(0.0, -jump)
        return self._replace(
            names=tuple(name.moved(ahead, behind, clock.wall) for name in self.names),
            chains=self.chains.moved(ahead, behind, clock.wall), issuers=self.issuers.moved(ahead, clock.wall), clock=clock)

    def name(self, owner):
        """The memory of an owner name; a new one when there is none."""
        return next((name for name in self.names if name.owner == owner), Name(owner))

    def with_name(self, name):
        """The ledger with this memory of a name in place of the old one."""
        return self._replace(names=tuple(n for n in self.names if n.owner != name.owner) + (name,))

    def published_at(self, owner):
        """The records at an owner name that are ours to withdraw (frozenset of Record)."""
        return dict(self.published).get(owner, frozenset())

    def with_published(self, owner, records):
        """The ledger with the records that are ours at an owner name replaced."""
        kept = tuple(entry for entry in self.published if entry[0] != owner)
        brief = frozenset(record.brief() for record in records)
        return self._replace(published=kept + (((owner, brief),) if brief else ()))

    def to_dict(self):
        """The JSON form of the whole ledger."""
        return {
            "format": LEDGER_FORMAT,
            "names": {name.owner: name.to_dict() for name in self.names},
            "chains": self.chains.to_dict(),
            "operation": self.operation._asdict() if self.operation else None,
            "published": {owner: sorted(map(str, records)) for owner, records in self.published},
            "retired": sorted(self.retired),
            "clock": self.clock._asdict() if self.clock else None,
            "issuers": self.issuers.to_list(),
        }

    @classmethod
    def from_dict(cls, data):
        """Read the JSON form.

        :raises LedgerError: it is not that, or of another format.
        """
        found = data.get("format") if isinstance(data, dict) else type(data).__name__
        if isinstance(found, (bool, float)) or found != LEDGER_FORMAT:
            raise LedgerError(f"Cannot read the ledger: expected format {LEDGER_FORMAT}, found {found!r:.60}")
        try:
            clock = data["clock"]
            return cls(
                tuple(Name.from_dict(owner, name) for owner, name in data["names"].items()),
                Chains.from_dict(data["chains"]),
                Operation.from_dict(data["operation"]),
                tuple((_fields.text(owner), _fields.records(records)) for owner, records in data["published"].items()),
                frozenset(_fields.texts(data["retired"])),
                None if clock is None else Clock(
                    _fields.seconds(clock["wall"]), _fields.text(clock["boot"]), _fields.seconds(clock["uptime"])),
                Issuers.from_list(data["issuers"]),
            )
        except _fields.MALFORMED as exc:
            raise LedgerError(f"Cannot read the ledger: {_fields.cause(exc)}") from exc
