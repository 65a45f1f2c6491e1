# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Draws a rollover as one picture (SVG) from the witness's and the senders' logs.

Time runs from left to right. Per mail host: a row per record and name server, coloured by the record's state; a row
per address with the key presented; a row of deliveries per sender; and the rollover's steps as vertical lines.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET

from . import story, verdict

WIDTH, LEFT, RIGHT = 1240, 250, 110
PLOT = WIDTH - LEFT - RIGHT
WIDTH_PER_LETTER = 0.62  # of the font's size
FONT = "DejaVu Sans, Verdana, Helvetica, sans-serif"
INK, DIM, FAINT = "#1f2328", "#6b7280", "#e3e5e8"
GOOD, BAD = "#2e8b57", "#d0021b"
KEYS = ("#8a5a2b", "#1f5fbf", "#8e44ad", "#0f8b8d", "#b83280", "#5d6d7e")
STATES = {
    "RUMOURED": ("#f4c542", "published, but some cache may still lack it"),
    "OMNIPRESENT": ("#6cc08b", "in every answer that any sender may hold"),
    "UNRETENTIVE": ("#c9ccd1", "withdrawn, but some cache may still hold it"),
}
STEPS = {
    story.PUBLISHED: "The first name server gives out the new key's record. The mail host stays with the old key.",
    story.EVERYWHERE: "The last name server has it: whoever asks from now on gets it.",
    story.LET_GO: "One TTL later no sender's cache can hold an answer without it any more.",
    story.DEPLOYED: "The mail host presents the new key. Every answer that a sender may hold matches it.",
    story.WITHDRAWN: "The old key is presented nowhere any more, so its record is removed.",
}


def _width(text, size):
    """About how wide a text gets; DejaVu Sans is wide, so others fit as well."""
    return WIDTH_PER_LETTER * size * len(text)


class Picture:
    """An SVG under construction in three layers; ``y`` grows as rows are added."""

    def __init__(self, evidence, result):
        self.evidence, self.result = evidence, result
        self.svg = ET.Element("svg", xmlns="http://www.w3.org/2000/svg")
        self.svg.set("font-family", FONT)
        self.add("rect", self.svg, width="100%", height="100%", fill="#ffffff")
        self.back, self.rows, self.front = (ET.SubElement(self.svg, "g") for _layer in range(3))
        self.y = 0.0
        self.keys = {}
        self.lines = []
        self.numbers = {step: number for number, step in enumerate(STEPS, 1)}

    # --- strokes ---

    def x(self, at):
        """Where a moment is, from left to right."""
        share = (at - self.evidence.start) / (self.evidence.end - self.evidence.start)
        return LEFT + PLOT * min(1.0, max(0.0, share))

    def add(self, tag, layer, text=None, **attributes):
        """Add an element; underscores in attribute names become hyphens."""
        element = ET.SubElement(layer, tag)
        for name, value in attributes.items():
            element.set(name.replace("_", "-"), f"{value:.1f}" if isinstance(value, float) else str(value))
        element.text = text
        return element

    def text(self, x, y, text, size=11, fill=INK, anchor="start", weight="normal", layer=None):
        """A line of text with its baseline at y."""
        self.add("text", self.front if layer is None else layer, text, x=float(x), y=float(y), font_size=size,
                 fill=fill, text_anchor=anchor, font_weight=weight)

    def strip(self, start, end, height, fill, hint, layer=None, **attributes):
        """A strip between two moments in the current row; the hint shows when one points at it."""
        left = self.x(start)
        strip = self.add("rect", self.rows if layer is None else layer, x=left, y=self.y, height=height, fill=fill,
                         width=max(1.0, self.x(end) - left), **attributes)
        ET.SubElement(strip, "title").text = hint

    def number(self, x, y, number):
        """A step's number in a disc."""
        self.add("circle", self.front, cx=float(x), cy=float(y), r=8, fill=INK)
        self.text(x, y + 4, str(number), 11, "#ffffff", "middle", "bold")

    def colour(self, key):
        """One colour per key, in the order of their appearance."""
        return self.keys.setdefault(key, KEYS[len(self.keys) % len(KEYS)])

    # --- the parts, from top to bottom ---

    def head(self):
        """Title and outcome."""
        result = self.result
        self.text(16, 34, "A TLSA rollover, second by second", 20, weight="bold")
        self.text(
            16, 58,
            f"{result['deliveries']} deliveries by {len(result['senders'])} senders that insist on DANE: "
            f"{result['verified']} verified, {result['failed']} failed. Seconds in which any sender could have met a "
            f"mismatch: {verdict.seconds(result['exposure'])}.",
            13, BAD if result["failed"] or result["exposure"] else GOOD, weight="bold",
        )
        self.y = 74.0

    def host(self, owner, host):
        """Everything about one mail host."""
        top = self.y + 8
        self.y = top + 18
        self.text(16, self.y, self.evidence.names[host], 15, weight="bold")
        happened = story.steps(self.evidence, owner, host)
        self.lines = list(happened.values())
        self._labels(happened)
        self._spans(happened)
        start = self.y
        presented = [p for p in story.presented(self.evidence, host) if p.end > self.evidence.start]
        for key in (p.key for p in sorted(presented, key=lambda p: p.start) if p.key):
            self.colour(key)
        self._records(owner, presented)
        self._presented(presented)
        self._deliveries(host)
        self._lines(start)
        self._exposure(host, start)
        self._grid(start)
        self.y += 14

    def _labels(self, happened):
        """The steps' names above their lines, in tiers so that none touches another."""
        tiers = []
        for step, at in sorted(happened.items(), key=lambda item: (item[1], self.numbers[item[0]])):
            x, width = self.x(at), 16 + _width(step, 11)
            turned = x + width > WIDTH - 8  # no room to the right: the name goes to the left of the disc
            left, right = (x - width, x + 8) if turned else (x - 8, x + width)
            tier = next((i for i, end in enumerate(tiers) if end + 6 < left), len(tiers))
            tiers[tier:tier + 1] = [right]
            y = self.y - 5 + 19 * tier
            self.number(x, y, self.numbers[step])
            self.text(x - 12 if turned else x + 12, y + 4, step, anchor="end" if turned else "start", weight="bold")
            self.add("line", self.back, x1=x, x2=x, y1=y, y2=self.y + 19 * 5, stroke=INK, stroke_width=1,
                     stroke_dasharray="2 2", data_step=step)
        self.y += 10 + 19 * max(0, len(tiers) - 1)

    def _spans(self, happened):
        """What the time between the steps is for, in words, where it went as it should and there is room."""
        order = [happened.get(step) for step in (story.PUBLISHED, story.LET_GO, story.DEPLOYED, story.WITHDRAWN)]
        if None in order or order != sorted(order):
            return
        published, let_go, _deployed, withdrawn = order
        for start, end, texts in (
            (published, let_go, ("the wait: a sender may still hold an answer without the new record",
                                 "the wait: some cache may lack it", "the wait")),
            (let_go, withdrawn, ("either key matches whatever a sender holds: safe to switch",
                                 "either key is safe to present", "safe to switch")),
        ):
            room = self.x(end) - self.x(start) - 12
            text = next((t for t in texts if _width(t, 10) < room), None)
            if text:
                self.add("path", self.front, fill="none", stroke=DIM,
                         d=f"M{self.x(start) + 3:.1f} {self.y + 12:.1f}v-4H{self.x(end) - 3:.1f}v4")
                middle = (self.x(start) + self.x(end)) / 2
                self.add("rect", self.front, x=middle - _width(text, 10) / 2, y=self.y, height=12,
                         width=_width(text, 10), fill="#ffffff")
                self.text(middle, self.y + 11, text, 10, DIM, "middle")
        self.y += 18

    def _name(self, title, detail, rows, height, swatch=None):
        """The label of a group of rows, at its left."""
        middle = self.y + rows * height / 2
        if swatch:
            self.add("rect", self.front, x=16, y=middle - 11, width=9, height=22, fill=swatch)
        self.text(31, middle - 1, title, 11)
        self.text(31, middle + 11, detail, 9, DIM)

    def _records(self, owner, presented):
        versions = story.served(self.evidence, owner)
        servers = sorted({v.server for v in versions})
        keys = {f"3 1 1 {p.key}": p for p in sorted(presented, key=lambda p: -p.start) if p.key}
        end, height = self.evidence.end, 13
        for record in story.records(versions, self.evidence.start, end):
            key = keys.get(record)
            role = "of no key presented here (standby)"
            if key and len(keys) == 1:
                role = "record of the key presented"
            elif key:
                role = "record of the old key" if key.start <= self.evidence.start else "record of the new key"
            self._name(f"TLSA {record[:14]}…", role, len(servers), height, self.colour(key.key) if key else FAINT)
            rows = {s: story.segments(record, s, versions, self.evidence.start, end) for s in servers}
            named = _longest(rows)
            for server, row in rows.items():
                self.text(LEFT - 8, self.y + 10, server, 9, DIM, "end")
                self.add("line", self.back, x1=LEFT, x2=LEFT + PLOT, y1=self.y + 6, y2=self.y + 6, stroke=FAINT)
                for left, right, state in row:
                    fill, meaning = STATES[state]
                    self.strip(left, right, 11, fill, f"{record[:14]}… on {server}: {state}, {meaning}")
                    if named[state] == (server, left):
                        self._inside(left, right, state, 9, INK)
                self.y += height
            self.y += 9

    def _inside(self, start, end, text, size, fill):
        """A word in a strip where there is most room between the steps' lines, if there is enough."""
        edges = sorted([start, end] + [at for at in self.lines if start < at < end])
        left, right = max(zip(edges, edges[1:]), key=lambda span: span[1] - span[0])
        if self.x(right) - self.x(left) > _width(text, size) + 6:
            self.text((self.x(left) + self.x(right)) / 2, self.y + size + 0.5, text, size, fill, "middle")

    def _presented(self, presented):
        addresses = sorted({p.address for p in presented})
        self._name("key presented", "by the mail host, over STARTTLS", len(addresses), 17)
        for address in addresses:
            self.text(LEFT - 8, self.y + 11, "IPv6" if ":" in address else "IPv4", 9, DIM, "end")
            for seen in (p for p in presented if p.address == address):
                label = f"key {seen.key[:8]}" if seen.key else "no TLS"
                self.strip(seen.start, seen.end, 15, self.colour(seen.key) if seen.key else BAD, f"{address}: {label}")
                self._inside(seen.start, seen.end, label, 10, "#ffffff")
            self.y += 17
        self.y += 9

    def _deliveries(self, host):
        senders = sorted(self.evidence.senders)
        self._name("deliveries", "one tick each; red: failed", len(senders), 13)
        for sender in senders:
            mine = [d for d in self.evidence.deliveries() if (d.sender, d.host) == (sender, host)]
            self.text(LEFT - 8, self.y + 10, sender, 9, DIM, "end")
            for good in (True, False):  # failures on top
                for d in (d for d in mine if d.failed is not good):
                    self.add("line", self.rows, x1=self.x(d.at), x2=self.x(d.at), y1=self.y, y2=self.y + 11,
                             stroke=GOOD if good else BAD, stroke_width=1.4 if good else 2.2)
            failed = sum(d.failed for d in mine)
            self.text(LEFT + PLOT + 8, self.y + 10, f"{failed} of {len(mine)} failed" if failed else
                      f"{len(mine)} verified", 9, BAD if failed else GOOD, weight="bold" if failed else "normal")
            self.y += 13
        self.y += 2

    def _lines(self, top):
        """The steps' lines: over the rows, from the end of the label's own stroke to the last row."""
        for at in self.lines:
            self.add("line", self.front, x1=self.x(at), x2=self.x(at), y1=top, y2=self.y, stroke=INK,
                     stroke_width=1, stroke_dasharray="2 2")
        for line in self.back.iter("line"):
            if line.get("data-step"):
                del line.attrib["data-step"]
                line.set("y2", f"{top:.1f}")

    def _exposure(self, host, top):
        """A red band wherever some sender could have met a mismatch."""
        for start, end in _union((m.start, m.end) for m in verdict.exposures(self.evidence) if m.host == host):
            self.add("rect", self.back, x=self.x(start), y=top - 2, width=max(1.0, self.x(end) - self.x(start)),
                     height=self.y - top + 2, fill=BAD, fill_opacity="0.13")
            if self.x(end) - self.x(start) > 60:
                self.text((self.x(start) + self.x(end)) / 2, self.y + 11, f"exposed for {end - start:.1f} s", 10, BAD,
                          "middle", "bold")

    def _grid(self, top):
        for at in self._ticks():
            self.back.insert(0, ET.Element("line", x1=f"{self.x(at):.1f}", x2=f"{self.x(at):.1f}", y1=f"{top:.1f}",
                                           y2=f"{self.y:.1f}", stroke=FAINT))

    def _ticks(self):
        span = self.evidence.end - self.evidence.start
        step = next((s for s in (5, 10, 20, 30, 60, 120, 300, 600) if span / s <= 16), 1200)
        return [self.evidence.start + n * step for n in range(int(span / step) + 1)]

    def axis(self):
        """Seconds, below everything."""
        self.y += 8
        for at in self._ticks():
            self.text(self.x(at), self.y, f"{at - self.evidence.start:.0f} s", 10, DIM, "middle")
        self.y += 18

    def legend(self):
        """What the steps and the colours mean."""
        self.add("line", self.front, x1=16, x2=WIDTH - 16, y1=self.y, y2=self.y, stroke=FAINT)
        self.y += 20
        self.text(16, self.y, "The steps of a rollover, in the order that is safe", 12, DIM, weight="bold")
        self.text(790, self.y, "A record's colour is its state", 12, DIM, weight="bold")
        self.y += 22
        top = self.y
        for step, why in STEPS.items():
            self.number(24, self.y, self.numbers[step])
            self.text(40, self.y + 4, step, weight="bold")
            self.text(172, self.y + 4, why)
            self.y += 21
        y = top
        for state, (fill, meaning) in STATES.items():
            self.add("rect", self.front, x=790, y=y - 6, width=22, height=11, fill=fill)
            self.text(820, y + 4, state, weight="bold")
            self.text(920, y + 4, meaning)
            y += 21
        self.text(790, y + 14, "The square beside a record has the colour of its key", 12, DIM, weight="bold")
        for number, (key, colour) in enumerate(list(self.keys.items())[:4]):
            x = 790 + 108 * number
            self.add("rect", self.front, x=x, y=y + 24, width=11, height=11, fill=colour)
            self.text(x + 16, y + 34, f"key {key[:8]}", 10)

    def finish(self):
        """The SVG as text."""
        height = int(self.y + 14)
        self.svg.set("viewBox", f"0 0 {WIDTH} {height}")
        self.svg.set("width", str(WIDTH))
        self.svg.set("height", str(height))
        ET.indent(self.svg, " ")
        return ET.tostring(self.svg, encoding="unicode") + "\n"


def _longest(rows):
    """Which strip carries a state's name: {state: (row, start)} of its longest strip, in the middle row where alike."""
    middle = list(rows)[len(rows) // 2]
    found = {}
    for row, bars in rows.items():
        for left, right, state in bars:
            size = (round(right - left), row == middle, right - left)
            if state not in found or size > found[state][0]:
                found[state] = (size, (row, left))
    return {state: strip for state, (_size, strip) in found.items()}


def _union(spans):
    """Overlapping (start, end) joined."""
    joined = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def draw(evidence, result=None):
    """The picture of a window (SVG text). ``result``: the verdict, judged here if not given."""
    picture = Picture(evidence, verdict.judge(evidence) if result is None else result)
    picture.head()
    for owner, host in sorted(evidence.sightings.owners.items(), key=lambda item: item[1]):
        picture.host(owner, host)
    picture.axis()
    picture.legend()
    return picture.finish()
