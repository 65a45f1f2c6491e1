# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The worlds that are searched to the last state: small, each with one or two things that may go wrong."""

from __future__ import annotations

from world import TIMING, Scenario

REKEY = Scenario((("311A", 2), ("311A 311B", 1), ("311B", 1)), goal=(2, "B"), publishable=(0, 1, 2))
TWO = Scenario(
    (("311A 311C", 1), ("311A 311B 311C", 1), ("311B 311C", 1)),
    hosts=("A", "C"),
    files=(("B",), ()),
    ticks=4,
    goal=(2, "B", "C"),
)


def timed(**other):
    """TIMING with other figures."""
    return tuple({**TIMING, **other}.items())


WORLDS = {
    "rekey": REKEY._replace(ticks=6, failures=1),
    "fallback": REKEY._replace(fallbacks=1, ticks=6),
    "falls back unheard": REKEY._replace(fallbacks=1, silent=((), (1,)), ticks=5),
    "three servers": REKEY._replace(servers=3, rrsets=(("311A", 1), ("311A 311B", 1), ("311B", 1))),
    "silence": REKEY._replace(
        rrsets=(("311A 311B", 1), ("311A 311C", 1), ("311B", 1)), silent=((), (1,), ("a",)), ticks=4, bridge=(0,)
    ),
    "bogus": REKEY._replace(silent=((), ("bogus",), (0,), ("bogus", 1)), ticks=4),
    "ledger lost at first": REKEY._replace(
        rrsets=(("311A 311B", 1), ("311B", 1), ("311A", 2)),
        publishable=(0, 1),
        cached=(2,),
        ledger_lost=True,
        goal=(1, "B"),
        bridge=(0,),
    ),
    "ledger lost midway": REKEY._replace(
        rrsets=(("311A", 1), ("311A 311B", 1), ("311B", 1)), losses=1, ticks=4, intents=2
    ),
    "never heard": REKEY._replace(
        rrsets=(("311A 311B", 1), ("311B", 1), ("311A", 2)),
        publishable=(0, 1),
        cached=(2,),
        behind=1,
        ledger_lost=True,
        silent=((), (1,)),
        goal=(1, "B"),
        bridge=(0,),
    ),
    "TTL raised": REKEY._replace(
        rrsets=(("311A", 1), ("311A 311B", 3), ("311B", 1), ("311A 311B", 1)),
        publishable=(),
        bridge=(1, 3),
        ticks=5,
        intents=2,
    ),
    "TTL lowered": REKEY._replace(
        rrsets=(("311A", 3), ("311A", 1), ("311A 311B", 1), ("311B", 1)),
        publishable=(),
        goal=(3, "B"),
        bridge=(2,),
        ticks=5,
        intents=2,
    ),
    "TTL raised by others": REKEY._replace(
        rrsets=(("311A", 1), ("311A 311B", 1), ("311B", 1), ("311A", 3)), publishable=(1, 2), foreign=(3,), ticks=5, intents=2
    ),
    "alias": REKEY._replace(
        rrsets=(("311A", 1, 2), ("311A 311B", 1, 1), ("311B", 1), ("311A 311B", 1)),
        publishable=(),
        bridge=(3, 1),
        ticks=5,
        intents=2,
    ),
    "two hosts": TWO._replace(silent=((), ("b",))),
    "two hosts, both rekey": TWO._replace(
        rrsets=(("311A 311C", 1), ("311A 311B 311C 311D", 1), ("311B 311D", 1)),
        files=(("B",), ("D",)),
        ticks=3,
        goal=(2, "B", "D"),
    ),
    "two hosts, step by step": TWO._replace(stepwise=True, ticks=4),
    "a host outside the inventory": Scenario(
        (("311A 311C", 1), ("311A 311C 312A", 1), ("311A 311C 312A 312C", 1), ("311A", 1)),
        hosts=("A", "C"),
        files=(("A",), ()),
        strangers=1,
        ticks=3,
        silent=((), ("b",)),
        ledger_lost=True,
        goal=(2, "A", "C"),
        bridge=(0,),
    ),
    "digest change": Scenario(
        (("311A", 1), ("311A 312A", 1), ("312A", 1), ("311A 312B", 1), ("312B", 1)),
        files=(("B",),),
        ticks=3,
        goal=(2, "A"),
    ),
    "digest change and rekey in one": Scenario(
        (("311A", 1), ("311A 312A 311B 312B", 1), ("312B", 1), ("311A 312A", 1), ("311A 311B", 1)),
        ticks=5,
        intents=2,
        goal=(2, "B"),
        bridge=(1, 4, 3),
    ),
    "first publication": Scenario(
        (("", 1), ("311A", 1), ("311B", 1), ("311A 311B", 1)),
        files=(("A", "B"),),
        enabling=True,
        ticks=3,
        goal=(2, "B"),
        bridge=(3, 1),
        intents=2,
    ),
    "leaving DANE": Scenario((("311A", 1), ("", 2)), enabling=True, ticks=5, goal=(1, "B"), bridge=(1,), failures=1),
    "an RRset must not become empty": Scenario(
        (("311A", 1), ("", 1), ("311A 311B", 1)), ticks=4, goal=(2, "B"), bridge=()
    ),
    "stale foreign record": Scenario(
        (("311A 211z", 1), ("311A 311B 211z", 1), ("311B 211z", 1), ("311B", 1)), ticks=5, goal=(3, "B"), bridge=(2, 1)
    ),
    "an outage to be repaired": Scenario(
        (("311Z", 2), ("311Z 311A", 1), ("311A", 1)), files=(("B",),), ticks=4, intents=2, goal=(2, "A")
    ),
    "an outage to be repaired by another key": Scenario(
        (("311B", 2), ("311A", 1), ("311A 311B", 1)), ticks=4, goal=(0, "B"), bridge=(2,)
    ),
    "a host missing from the RRset": Scenario(
        (("311A", 1), ("311A 311C", 1), ("311C", 1)),
        hosts=("A", "C"),
        files=((), ("A",)),
        ticks=4,
        goal=(1, "A", "C"),
        bridge=(),
    ),
    "wildcard": Scenario((("311A", 1, 1), ("311A 311B", 1), ("311B", 1)), ticks=5, goal=(2, "B")),
    "wildcard uncovered": Scenario(
        (("311A 311B", 1), ("311A", 1, 1), ("311B", 1)), ticks=5, goal=(2, "B"), bridge=(0,)
    ),
    "CA change": Scenario(
        (("211x", 2), ("211x 211y", 1), ("211y", 1)),
        hosts=("Ax",),
        files=(("By", "Bx"),),
        ticks=5,
        intents=2,
        goal=(2, "By"),
    ),
    "CA change under two combinations": Scenario(
        (("311A 211x", 1), ("311A 211x 211y", 1), ("311A 211y", 1), ("311A 311B 211x 211y", 1)),
        hosts=("Ax",),
        files=(("Ay", "By"),),
        ticks=4,
        goal=(2, "Ay"),
        bridge=(1,),
        intents=2,
    ),
    "from DANE-EE to DANE-TA": Scenario(
        (("311A", 1), ("311A 211x", 1), ("211x", 1), ("211y", 1)),
        hosts=("Ax",),
        files=(("Bx", "By"),),
        ticks=4,
        goal=(2, "Bx"),
        bridge=(1,),
    ),
    "from DANE-TA to DANE-EE": Scenario(
        (("211x", 1), ("311A 211x", 1), ("311A", 1), ("311B", 1)),
        hosts=("Ax",),
        files=(("Ay", "By"),),
        ticks=4,
        goal=(2, "Ay"),
        bridge=(1,),
    ),
    "two algorithms": Scenario(
        (("311A 311R", 1), ("311A 311R 311B", 1), ("311B 311R", 1), ("311A 311B", 1)),
        hosts=("A R",),
        files=(("B R", "B S"),),
        ticks=5,
        goal=(2, "B R"),
    ),
    "an algorithm added": Scenario(
        (("311A", 1), ("311A 311R", 1)), hosts=("A",), files=(("A R",),), ticks=5, goal=(1, "A R"), failures=1
    ),
    "an algorithm removed": Scenario(
        (("311A 311R", 1), ("311A", 1)), hosts=("A R",), files=(("A",),), ticks=5, goal=(1, "A"), bridge=(), failures=1
    ),
    "an algorithm removed where one does not match": Scenario(
        (("311R", 1), ("311A 311R", 1), ("311A", 1)),
        hosts=("A R",),
        files=(("A", "R"),),
        ticks=5,
        goal=(2, "A"),
        bridge=(1,),
    ),
    "the address moves": Scenario(
        (("311A 311B", 1), ("311B", 1)),
        hosts=("A", "B"),
        files=((), ()),
        moves=True,
        ticks=6,
        silent=((), ("a",)),
        intents=2,
        servers=1,
    ),
    "an address leaves": Scenario(
        (("311A 311B", 1), ("311B", 1)),
        hosts=("A", "B"),
        files=((), ()),
        leaves=True,
        ticks=6,
        servers=1,
        silent=((), ("a",)),
        goal=(),
    ),
    "a server leaves the NS set": REKEY._replace(
        rrsets=(("311A", 1), ("311A 311B", 1), ("311B", 1)), drops=(1,), ns_ttl=3, ticks=5, intents=2
    ),
    "a silent server leaves the NS set": REKEY._replace(
        rrsets=(("311A", 1), ("311A 311B", 1), ("311B", 1)), drops=(1,), ns_ttl=3, ticks=4, silent=((), (1,)), intents=2
    ),
    "left before the first look": REKEY._replace(
        rrsets=(("311A 311B", 1), ("311B", 1), ("311A", 1)),
        publishable=(0,),
        behind=1,
        ledger_lost=True,
        goal=(0, "B"),
        bridge=(),
        drops=(1,),
        ns_ttl=3,
        ticks=7,
        intents=0,
        timing=timed(ceiling=4),
    ),
    "never heard, and leaves": REKEY._replace(
        rrsets=(("311A 311B", 1), ("311B", 1), ("311A", 1)),
        publishable=(0,),
        behind=1,
        ledger_lost=True,
        silent=((), (1,)),
        goal=(0, "B"),
        bridge=(),
        drops=(1,),
        ns_ttl=3,
        ticks=7,
        intents=0,
        timing=timed(ceiling=4),
    ),
    "lame": REKEY._replace(
        rrsets=(("311A", 1), ("311A 311B", 1), ("311B", 1)),
        publishable=(0, 1),
        goal=(1, "B"),
        lame=1,
        ticks=4,
        intents=1,
        timing=timed(lame_looks=2, lame_seconds=2),
    ),
    "dead, and waived": REKEY._replace(
        rrsets=(("311A", 1), ("311A 311B", 1), ("311B", 1)), dead=(1,), waived=100, ticks=5
    ),
    "others publish, too": REKEY._replace(
        rrsets=(("311A", 1), ("311A 311B", 1), ("311B", 1), ("311A 311C", 2)),
        foreign=(3, 0),
        foreigns=1,
        publishable=(0, 1, 2),
        ticks=4,
        intents=2,
    ),
    "two operators": REKEY._replace(
        rrsets=(("311A", 1), ("311A 311B", 1), ("311B", 1)), operators=2, ticks=3, silent=((), (0,))
    ),
    "two hosts, two operators": TWO._replace(stepwise=True, operators=2, ticks=2, intents=2),
    "the controller and the hook": TWO._replace(
        controller=True, ticks=2, intents=2, publishable=(0, 1), goal=(1, "B", "C")
    ),
    "the controller, the hook and a fallback": TWO._replace(
        rrsets=(("311A 311B 311C", 1), ("311A 311C", 1)),
        goal=(0, "B", "C"),
        bridge=(),
        controller=True,
        ticks=3,
        intents=1,
        fallbacks=1,
        behind=0,
        servers=2,
    ),
    "the clock jumps": REKEY._replace(
        rrsets=(("311A", 2), ("311A 311B", 1), ("311B", 1)), jumps=(3, -2), ticks=4, intents=2
    ),
    "the hosts start anew": REKEY._replace(reboots=1, ticks=4, jumps=(), intents=2),
    "nobody has looked for long": REKEY._replace(
        rrsets=(("311A 311B", 1), ("311A", 1)),
        goal=(0, "B"),
        bridge=(),
        publishable=(0,),
        foreign=(1, 0),
        foreigns=2,
        intents=0,
        ticks=6,
        timing=timed(look_max_age=2, ceiling=1),
    ),
    "a host is heard late": TWO._replace(
        rrsets=(("311A 311B 311C", 1), ("311A 311B", 1)),
        hosts=("A", "C"),
        files=(("A",), ("B",)),
        goal=(1, "A", "B"),
        bridge=(0,),
        silent=((), ("b",)),
        ledger_lost=True,
        intents=1,
        ticks=4,
    ),
    "the controller's clock is behind": TWO._replace(
        rrsets=(("311A", 1), ("311A 311B", 1)),
        hosts=("A",),
        goal=(1, "B"),
        files=(("B",),),
        publishable=(1,),
        controller=True,
        copies=2,
        skew=-1,
        intents=1,
        ticks=5,
        timing=timed(slack=1, view_max_age=1),
    ),
    "the controller's clock is ahead": TWO._replace(
        rrsets=(("311A", 1), ("311A 311B", 1)),
        hosts=("A",),
        goal=(1, "B"),
        files=(("B",),),
        publishable=(1,),
        controller=True,
        copies=2,
        skew=1,
        intents=1,
        ticks=5,
        timing=timed(slack=1, view_max_age=1),
    ),
    "ledgers in files": REKEY._replace(through_json=True, ticks=4),
}

#: The earliest tick at which the goal of a world is reached: who waits longer than he has to is wrong as well.
ARRIVES = {
    "rekey": 4,
    "fallback": 4,
    "falls back unheard": 4,
    "three servers": 3,
    "silence": 2,
    "bogus": 4,
    "ledger lost at first": 4,
    "ledger lost midway": 3,
    "never heard": 4,
    "TTL raised": 3,
    "TTL raised by others": 3,
    "TTL lowered": 5,
    "alias": 5,
    "two hosts": 3,
    "two hosts, both rekey": 3,
    "two hosts, step by step": 3,
    "a host outside the inventory": 2,
    "digest change": 1,
    "digest change and rekey in one": 3,
    "first publication": 2,
    "leaving DANE": 2,
    "an RRset must not become empty": 2,
    "stale foreign record": 3,
    "an outage to be repaired": 1,
    "an outage to be repaired by another key": 1,
    "a host missing from the RRset": 1,
    "wildcard": 4,
    "wildcard uncovered": 2,
    "CA change": 4,
    "CA change under two combinations": 3,
    "from DANE-EE to DANE-TA": 2,
    "from DANE-TA to DANE-EE": 2,
    "two algorithms": 3,
    "an algorithm added": 2,
    "an algorithm removed": 2,
    "an algorithm removed where one does not match": 3,
    "a server leaves the NS set": 3,
    "a silent server leaves the NS set": 3,
    "left before the first look": 5,
    "never heard, and leaves": 5,
    "lame": 2,
    "dead, and waived": 3,
    "others publish, too": 3,
    "two operators": 3,
    "two hosts, two operators": 3,
    "the controller and the hook": 3,
    "the controller, the hook and a fallback": 1,
    "the clock jumps": 4,
    "the hosts start anew": 4,
    "nobody has looked for long": 1,
    "a host is heard late": 4,
    "the controller's clock is behind": 4,
    "the controller's clock is ahead": 4,
    "ledgers in files": 4,
}
WORLDS = {name: scenario._replace(arrives=ARRIVES.get(name, -1)) for name, scenario in WORLDS.items()}
