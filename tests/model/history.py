# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What may still be seen, told from the whole history: the judge's own derivation. Shares no code with what it judges.

A memory forgets as it goes; this looks at all that ever happened and asks of each thing by itself: who gave it, who may
have given it while nobody heard, and which was the first look after that in which everybody was heard and nobody did.
Things are texts, sources are texts, times are numbers. The same for both sides: servers give versions, endpoints
present chains.
"""

from __future__ import annotations

from typing import NamedTuple, Optional

GAVE, SILENT, NOTHING = "gave", "silent", "nothing"


class Event(NamedTuple):
    """A look (``said``: source to what it said) or something about to be done (``intent``)."""

    at: float
    said: dict  # source: (GAVE, things), (SILENT,) or (NOTHING,)
    ttls: dict  # source: TTL of what leads there; only of those to which something leads
    evidence: bool = True
    intent: Optional[str] = None
    until: float = 0.0  # how long whoever intends it may take


class History:
    """All that happened to one memory, oldest first.

    :param events: list of :class:`Event`. :param leads: function of a TTL: how long caches may lead somebody somewhere.
    """

    def __init__(self, events, leads):
        self.events = events
        self.leads = leads
        sources = sorted({source for event in events for source in event.said})
        #: For each source what it may have been giving at each event, and whether it said so; None where it does not count.
        self.giving = {source: self._story_of(source) for source in sources}

    def _story_of(self, source):
        story, given, known, ttl, left = [], frozenset(), False, 0, None
        for event in self.events:
            if event.intent is not None:
                story.append(None)
                continue
            if source in event.ttls:
                ttl, left = max(ttl if known else 0, event.ttls[source]), None
            elif left is None:
                left = event.at
            if source not in event.ttls and (not known or event.at >= left + self.leads(ttl)):
                # Nothing leads there, or it was known that nothing comes from there.
                given, known = frozenset(), False
                story.append(None)
                continue
            said = event.said.get(source, (SILENT,))
            if said[0] != SILENT:
                given = frozenset(said[1]) if said[0] == GAVE else frozenset()
            known = bool(given) or said[0] == SILENT
            story.append((given, said[0]))
        return story

    def complete(self, number):
        """Whether a look may prove that something has gone: somebody was heard, and nobody was not."""
        event = self.events[number]
        told = [story[number][1] for story in self.giving.values() if story[number]]
        return event.intent is None and event.evidence and GAVE in told and SILENT not in told

    def signs(self, thing):
        """The numbers of the events at which somebody may have been giving a thing, or was about to."""
        return [number for number, event in enumerate(self.events) if event.intent == thing or any(
            story[number] and thing in story[number][0] for story in self.giving.values())]

    def things(self):
        """Everything that was ever given or intended."""
        given = {thing for story in self.giving.values() for one in story if one for thing in one[0]}
        return given | {event.intent for event in self.events if event.intent is not None}

    def holders(self, thing):
        """Who may be giving a thing since the last look (set)."""
        looks = [number for number, event in enumerate(self.events) if event.intent is None]
        return {source for source, story in self.giving.items()
                if looks and story[looks[-1]] and thing in story[looks[-1]][0]}

    def gone_since(self, thing):
        """The time of the first complete look after the last sign of a thing, or None."""
        last = self.signs(thing)[-1]
        until = max([event.until for event in self.events if event.intent == thing], default=0.0)
        return next((self.events[number].at for number in range(last + 1, len(self.events))
                     if self.complete(number) and self.events[number].at > until), None)

    def unknown(self):
        """The sources of the last look of which nothing is known (set)."""
        looks = [number for number, event in enumerate(self.events) if event.intent is None]
        return {source for source, story in self.giving.items() if looks and story[looks[-1]] == (frozenset(), SILENT)}

    def silent(self):
        """The sources that the last look did not hear (set)."""
        looks = [number for number, event in enumerate(self.events) if event.intent is None]
        return {source for source, story in self.giving.items()
                if looks and story[looks[-1]] and story[looks[-1]][1] == SILENT}

    def leaving(self):
        """The sources that still count although the last look was no longer led to them (set)."""
        looks = [number for number, event in enumerate(self.events) if event.intent is None]
        return {source for source, story in self.giving.items() if looks and source not in self.events[looks[-1]].ttls
                and story[looks[-1]] and (story[looks[-1]][0] or story[looks[-1]][1] == SILENT)}
