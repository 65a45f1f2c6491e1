# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each part of the rules against the judge's own derivation of it, on values made at random (always the same ones).

Where a world asks whether anybody is hurt, these ask whether the answer is the right one: a door that stays shut too
long hurts nobody, and is wrong all the same.
"""

from __future__ import annotations

import json
import itertools
import random
from typing import NamedTuple

import history
import judge
from ansible_collections.mailops.dane.plugins.module_utils import _ledger, _memory, _rollover, _waivers
from ansible_collections.mailops.dane.plugins.module_utils._errors import DaneError, LedgerError, WaiverError
from ansible_collections.mailops.dane.plugins.module_utils._tlsa import Record
from world import OWNER, record

WORDS = [f"{usage}{selector}{mtype}{who}" for usage, selector, mtype, whose in (
    (3, 1, 1, "AB"), (3, 1, 2, "AB"), (3, 0, 1, ("A", "B", "A2")), (3, 1, 0, "A"), (2, 1, 1, "xy"), (2, 0, 1, "x"),
    (1, 1, 1, "A"))
    for who in whose]
CHAINS = ["A", "B", "Ax", "Bx", "By", "R", "Rx", "Cy", "A2", "A2x"]
RUNS = 200


class Done(NamedTuple):
    """What a check did."""

    states: int = 0
    runs: int = 0

    def __str__(self):
        return ", ".join([f"{self.states} states"] * bool(self.states) + [f"{self.runs} runs"])


def fails(error, function, *arguments):
    """Whether a call raises this error, and no other."""
    try:
        function(*arguments)
    except error:
        return True
    return False


def through_json(value):
    """The value as it comes out of a file: no text is the same object as in the code."""
    return json.loads(json.dumps(value))


def rrset(chance, most=4):
    return frozenset(chance.sample(WORDS, chance.randint(0, most)))


def version_of(words, ttl=1):
    return _rollover.Version(frozenset(map(record, words)), ttl, (OWNER,))


def chain_of(word):
    """The Chain of a word: all that it matches, in every form."""
    matches = frozenset(record(one) for one in WORDS if judge.suits(one, word) and one[0] != "1")
    matches |= {record("311" + word[0]), record("301" + word)}
    return _rollover.Chain(word, word[0] * 20, through_json("rsa" if word[0] == "R" else "ecdsa"), matches)


# -------------------------------------------------------------------------------------------------------- what suits


def check_suits():
    """`matched`, `unmatched` and `fine` against the judge."""
    chance = random.Random(1)
    for _run in range(RUNS):
        words, who, empty = rrset(chance), chance.choice(CHAINS), chance.random() < 0.5
        version, chain = version_of(words), chain_of(who)
        missed = {tuple(map(int, combination)) for combination in judge.missed(words, who)}
        heeded = {tuple(map(int, word[:3])) for word in judge.usable(words)}
        assert set(map(tuple, _rollover.unmatched(chain, version))) == missed, (words, who)
        assert set(map(tuple, _rollover.matched(chain, version))) == heeded - missed, (words, who)
        assert _rollover.fine(chain, version, empty) is (empty if not heeded else not missed), (words, who)
        assert not heeded or _rollover.fine(chain, version) == (not judge.accepted(words, who, False)), (words, who)
        assert version.usable == frozenset(record(word) for word in words if word[0] != "1")
    assert not _rollover.fine(chain_of("A"), version_of(())), "an empty RRset is fine only when one says so"
    return Done(runs=RUNS)


def check_publish():
    """`may_publish` against the table of docs/design.md section 2, written down anew over words."""
    chance = random.Random(2)
    verdicts = set()
    for run in range(4 * RUNS):
        new, whos = rrset(chance, 3), chance.sample(CHAINS, chance.choice((0, 1, 1, 2)))
        served = [rrset(chance, 3) for _number in range(chance.choice((0, 1, 1, 2)))]
        if served and run % 2:
            new = served[0] | rrset(chance, 1) if run % 4 == 1 else served[0] - rrset(chance, 4)
        empty, known = chance.random() < 0.3, chance.random() < 0.8
        security = through_json(chance.choices(("secure", "bogus", "unreachable", ""), (12, 1, 1, 1))[0])
        gone = {who: chance.choice((5.0, 7.0)) for who in whos if chance.random() < 0.5}
        wanted = _publish(new, whos, served, empty, known, gone)
        replaced, remembered = _memories(chance)
        if replaced and not any(words == replaced[0] and ttl >= replaced[1] for words, ttl in remembered):
            wanted = "no", [("replaced-unseen", None, None)], None
        if security != "secure" and judge.usable(new):
            wanted = "no", [("not-secure", None, None)], None
        answer = _rollover.may_publish(
            version_of(new), [chain_of(who) for who in whos],
            [version_of(words, number) for number, words in enumerate(served)],
            OWNER, empty, known, gone, security, replaced and version_of(*replaced),
            (version_of(*one)._replace(path=()) for one in remembered))
        told = [(reason["code"], reason.get("chain"), reason["until"]) for reason in answer.reasons]
        assert (answer.verdict, told, answer.safe_at, answer.yes) == (*wanted, wanted[0] != "no"), (new, whos, served)
        for reason in answer.reasons:
            assert reason["owner"] == OWNER and reason["text"].startswith(OWNER + ": ")
            if reason["code"] == "chain-unmatched":
                missing = sorted(judge.missed(new, reason["chain"]))
                assert reason["spki"] == reason["chain"][0] * 20 and reason["spki"][:16] + " " in reason["text"]
                assert (" is presented, " if reason["until"] is None else " live on, ") in reason["text"]
                assert reason["text"].endswith(
                    " match it in " + (", ".join(" ".join(combination) for combination in missing) or "any combination"))
            if reason["code"] == "replaced-unseen":
                assert reason["version"] == version_of(*replaced).to_dict() and f"TTL {replaced[1]})" in reason["text"]
        verdicts.add((answer.verdict, answer.safe_at is None))
    assert len(verdicts) == 4, verdicts
    one = version_of(["311A"])
    assert _rollover.may_publish(one, [chain_of("A")], [], replaced=one).reasons[0]["code"] == "replaced-unseen"
    assert _rollover.may_publish(one, [], []).reasons[0]["code"] == "no-chain", "endpoints are known unless one says no"
    assert _rollover.may_publish(one, [chain_of("A")], []).verdict == "yes"
    assert _rollover.may_publish(version_of([]), [], [one]).reasons[0]["code"] == "empty"
    assert _rollover.may_publish(version_of([]), [], [one]).reasons[0]["owner"] == ""
    assert _rollover.may_publish(version_of([]), [chain_of("A")], []).verdict == "no", "an empty RRset is not fine by itself"
    empty = _memory.SeenVersion(version_of([]), frozenset(["1"]), None)
    nothing = _memory.Name(OWNER, (empty,), looked_at=5.0, heard_at=5.0, security="secure")
    assert not _rollover.may_deploy((chain_of("A"),), nothing, [], 5.0, _rollover.Timing()).yes, "nor is it for a chain"
    bare = chain_of("A")._replace(matches=frozenset([record("311A")]))
    renewed = nothing._replace(versions=(empty._replace(version=one),), unknown_until=9.0)
    assert _rollover.may_deploy((bare,), renewed, [bare], 5.0, _rollover.Timing()).yes, "the same is a renewal"
    return Done(runs=4 * RUNS)


def _memories(chance):
    """What a server gives, (words, TTL) or nothing, and what is remembered: the same often enough, if not always as long."""
    replaced = (rrset(chance, 2), chance.randint(1, 3)) if chance.random() < 0.5 else None
    remembered = [(rrset(chance, 2), chance.randint(1, 3)) for _number in range(chance.choice((0, 1, 1, 2)))]
    if replaced and chance.random() < 0.8:
        remembered.append((replaced[0], replaced[1] + chance.choice((-1, 0, 0, 1))))
    return replaced, remembered


def _publish(new, whos, served, empty, known, gone):
    heeded = judge.usable(new)
    if not heeded and not empty and any(judge.usable(old) for old in served):
        return "no", [("empty", None, None)], None
    if served and all(judge.usable(old) and heeded >= judge.usable(old) and {word[:3] for word in heeded} == {
            word[:3] for word in judge.usable(old)} for old in served):
        return "yes", [], None
    if not known:
        return "no", [("chains-unknown", None, None)], None
    if not whos and heeded:
        return "no", [("no-chain", None, None)], None
    bad, worse = [], []
    for who in whos:
        if not (judge.missed(new, who) if heeded else not empty):
            continue
        bad.append(who)
        if not (served and all(_no_worse(new, who, old, who) and judge.missed(new, who) <= judge.missed(old, who)
                               for old in served)):
            worse.append(who)
    times = [gone.get(who) for who in worse]
    if worse:
        reasons = [("chain-unmatched", who, gone.get(who)) for who in worse]
        return "no", reasons, None if None in times else max(times)
    return "no worse" if bad else "yes", [], None


def _no_worse(new, chain, old, before):
    """Whether every combination of the old RRset that the chain before matched is matched by the chain in the new one."""
    return _hit(old, before) <= _hit(new, chain)


def _hit(words, who):
    return {word[:3] for word in judge.usable(words)} - judge.missed(words, who)


# ------------------------------------------------------------------------------------------------------ the DNS side


def timing_of(chance):
    """Figures that tell each other apart."""
    return _rollover.Timing(
        factor=chance.choice((1, 2, 3)), floor=chance.choice((0, 4)), slack=chance.choice((0, 1)),
        linger=chance.choice((2, 5)), ceiling=chance.choice((3, 9)), view_max_age=3, look_max_age=chance.choice((6, 1000)),
        lame_looks=chance.choice((1, 2, 3)), lame_seconds=chance.choice((0, 2, 4)))


def _first_words(never_heard, told, event):
    """Whether one of those that were never heard is now, or counts no longer: but for a waiver, what it gave is unknown."""
    return any(event.said.get(one) != (history.NOTHING, "waived") for one in never_heard - told.unknown())


def _held(timing, ttl):
    return judge.lifetime((ttl,), timing.factor, timing.floor, timing.slack)


class Told(NamedTuple):
    """A made-up story of one name: the looks as JSON, and what the judge makes of each."""

    looks: list
    events: list
    unknown_until: float
    lame: dict


def check_name():
    """`Name`: looks at random, from the first to the last, against the whole history."""
    chance = random.Random(3)
    for _run in range(RUNS):
        timing, name = timing_of(chance), _memory.Name(OWNER)
        teller = NameTeller(chance, timing)
        for _step in range(chance.randint(1, 7)):
            name = teller.step(name)
            teller.judge(name)
    return Done(runs=RUNS)


def check_replacing():
    """`may_deploy` at a name with one version, which every server has: every chain in the place of every other one."""
    now, runs = 1000.0, 0
    words, whos = ("311A", "311B", "312A", "301A", "211x", "211y"), ("A", "B", "Ax", "A2x", "Bx", "By", "Cy", "R")
    for size in range(len(words) + 1):
        for chosen in map(frozenset, itertools.combinations(words, size)):
            name = _memory.Name(
                OWNER, (_memory.SeenVersion(version_of(chosen), frozenset({"s"}), None),), (_memory.Source("s", 1),),
                looked_at=now, heard_at=now, security="secure")
            for who, old in itertools.product(whos, whos):
                answer = _rollover.may_deploy((chain_of(who),), name, [chain_of(old)], now, _rollover.Timing())
                bad = judge.missed(chosen, who) or not judge.usable(chosen)
                worse = bad and not NameTeller._no_worse_than(who, [who], [old], chosen)
                assert answer.verdict == ("no" if worse else "no worse" if bad else "yes"), (answer, chosen, who, old)
                runs += 1
    return Done(runs=runs)


class NameTeller:
    """Makes up what servers say, and keeps the judge's books."""

    VERSIONS = [("311A", 3), ("311A 311B", 2), ("311B", 4), ("", 5), ("311A 211x", 2), ("301A", 1)]

    def __init__(self, chance, timing):
        self.chance, self.timing = chance, timing
        self.versions = {text: version_of(text.split(), ttl) for text, ttl in self.VERSIONS}
        self.ttl_of = dict(self.VERSIONS)
        self.events, self.at = [], 2.0
        self.unknown_until, self.lame_since = 0.0, {}
        self.last = self.heard = None
        self.enable, self.enabling = chance.random() < 0.3, False
        self.likely = chance.sample(list(self.versions), 2)

    def step(self, name):
        """One more look, or an intent."""
        chance = self.chance
        if chance.random() < 0.2 and self.events:
            text = chance.choice(list(self.versions))
            self.events.append(history.Event(self.at, {}, {}, intent=text, until=self.at + 2 * self.timing.view_max_age))
            return name.intend(self.versions[text], self.at, self.timing)
        if chance.random() < 0.1 and self.events:
            text = chance.choice(list(self.versions))
            self.events = [event._replace(until=0.0) if event.intent == text else event for event in self.events]
            return name.settled(_rollover.Version.from_dict(through_json(self.versions[text].to_dict())))
        self.at += chance.choice((0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 7.0))
        servers, said, ttls = [], {}, {}
        leaving = name.leaving()
        for number in "012"[:chance.choice((1, 2, 2, 3))]:
            outcome = chance.choices(("version", "silent", "does-not-serve", "waived"), (8, 2, 2, 1))[0]
            text = chance.choice(self.likely)
            server = {"address": number, "name": "ns.", "outcome": outcome, "ttl": chance.choice((1, 1, 3)),
                      "version": self.versions[text].to_dict() if outcome == "version" else None, "detail": "",
                      "rrsig_expires": self.at + chance.choice((1, 5, 50)) if chance.random() < 0.3 else None}
            if number in leaving and chance.random() < 0.6:
                server["left"] = True
            else:
                ttls[number] = server["ttl"]
            if chance.random() < 0.1:
                del server["ttl"]
                ttls.update({number: 0} if number in ttls else {})
            servers.append(server)
            said[number] = self._said(number, outcome, text)
        for number in set(self.lame_since) - set(said):
            del self.lame_since[number]
        self.enabling = self.enable and chance.random() < 0.6
        self.security = chance.choices(("secure", "bogus", "unreachable"), (8, 1, 1))[0]
        look = through_json({"owner": OWNER, "taken_at": self.at, "security": self.security, "servers": servers})
        event = history.Event(self.at, said, ttls, self.security == "secure")
        self._reckon(event)
        self.last, self.servers = self.at, servers
        if event.evidence and any(server["outcome"] == "version" for server in servers):
            self.heard = self.at
        return name.observe(look, self.timing, self.enabling)

    def _said(self, number, outcome, text):
        if outcome in ("does-not-serve", "silent"):
            since, looks = self.lame_since.get(number, (self.at, 0))
            if outcome == "does-not-serve":
                looks += self.last is None or self.at > self.last
                self.lame_since[number] = (since, looks)
            lame = looks >= self.timing.lame_looks and self.at - since >= self.timing.lame_seconds
            return (history.NOTHING,) if lame else (history.SILENT,)
        self.lame_since.pop(number, None)
        return (history.GAVE, [text]) if outcome == "version" else (history.NOTHING, "waived")

    def _reckon(self, event):
        """Until when something that nobody saw may be held, after one more look."""
        before = self.told() if self.events else None
        never_heard = before.unknown() if before else set()
        first, stale = self.heard is None, self.heard is not None and self.at - self.heard > self.timing.look_max_age
        self.events.append(event)
        told = self.told()
        if not (first or stale or _first_words(never_heard, told, event)):
            return
        empty = all(not text for text in told.things())
        if empty and (self.enabling or not first and not stale and not self.unknown_until):
            return
        longest = max((self.ttl_of[text] for text in told.things()), default=0)
        self.unknown_until = max(self.unknown_until, self.at + max(_held(self.timing, longest), self.timing.ceiling))

    def told(self):
        return history.History(self.events, lambda ttl: _held(self.timing, ttl))

    def judge(self, name):
        """Compare all that the memory says with the history."""
        if self.last is None:
            return
        told, text_of = self.told(), {version: text for text, version in self.versions.items()}
        mine = {text_of[seen.version]: (set(seen.servers), seen.gone_since) for seen in name.versions}
        wanted = {text: (told.holders(text), told.gone_since(text)) for text in told.things()}
        assert mine == wanted, (self.events, mine, wanted)
        assert (name.unknown_until, set(name.unanswered)) == (self.unknown_until, told.unknown()), self.events
        assert (name.looked_at, name.heard_at, name.security) == (self.last, self.heard, self.security)
        assert set(name.silent) == told.silent(), self.events
        assert set(name.leaving()) == told.leaving(), self.events
        for seen in name.versions:
            assert seen.open_until == max([event.until for event in self.events if event.intent == text_of[seen.version]],
                                          default=0.0)
        assert {one[0]: one[1:] for one in name.lame} == self.lame_since
        assert set(name.served()) == {self.versions[text] for text in wanted if wanted[text][0]}
        for now in (self.at - 3, self.at - 4, self.at, self.at + 2, self.at + 2.5, self.at + 5,
                    self.at + self.chance.randint(1, 12)):
            held = {text for text, (_holders, gone) in wanted.items()
                    if gone is None or now < gone + _held(self.timing, self.ttl_of[text])}
            assert {text_of[seen.version] for seen in name.may_be_seen(now, self.timing)} == held, (now, held)
            self._judge_states(name, now, held, wanted)
            self._judge_problems(name, now, told, wanted)
            self._judge_deploy(name, now, held, wanted)
            pruned = name.pruned(now, self.timing)
            assert {text_of[seen.version] for seen in pruned.versions} == held
            assert {seen.open_until for seen in pruned.versions} == {
                min(seen.open_until, now + 6) for seen in name.may_be_seen(now, self.timing)}
            longest = max((self.ttl_of[text] for text in wanted), default=0)
            assert name.pruned(now, self.timing).unknown_until == min(
                self.unknown_until, now + max(_held(self.timing, longest), self.timing.ceiling))
        assert _memory.Name.from_dict(OWNER, through_json(name.to_dict())) == name

    def _judge_states(self, name, now, held, wanted):
        for word in ("311A", "311B", "211x"):
            among = [text for text in held if word in text.split()]
            state = "HIDDEN" if not among else "OMNIPRESENT" if len(among) == len(held) else \
                "RUMOURED" if any(wanted[text][1] is None for text in among) else "UNRETENTIVE"
            assert name.state(record(word), now, self.timing) == state, (word, held, wanted)

    def _judge_problems(self, name, now, told, wanted):
        codes = [("not-secure", None)] if self.security != "secure" else self._old(now, 3)
        ends = [server["rrsig_expires"] for server in self.servers if server["rrsig_expires"] is not None]
        longest = max((self.ttl_of[text] for text, one in wanted.items() if one[0]), default=0)
        if ends and min(ends) < now + longest + self.timing.slack:
            codes.append(("signature-ends", None))
        codes += [("server-unknown" if server in told.unknown() else "server-silent", server)
                  for server in sorted(told.silent())]
        found = _rollover.problems(name, now, self.timing)
        assert [(one["code"], one.get("server")) for one in found] == codes, (found, codes)
        assert all(one["owner"] == OWNER and one["until"] is None for one in found)
        mute = ", ".join(sorted(told.silent())) or "all are lame or waived"
        assert all(f"({mute})" in one["text"] for one in found if one["code"] == "nobody-heard")

    def _old(self, now, max_age):
        """What is said of a memory that is too old to judge by, or of another clock."""
        if self.heard is not None and -3 <= now - self.heard <= max_age:
            return []
        deaf = self.heard != self.last and -3 <= now - self.last <= 3
        return [("nobody-heard" if deaf else "view-stale", None)]

    def _judge_deploy(self, name, now, held, wanted):
        """`may_deploy` against the table of docs/design.md section 2."""
        chance = self.chance
        new = chance.choice((["A"], ["B"], ["Ax"], ["A2"], ["A2x"], ["Bx", "R"], ["A2", "R"], ["B", "Rx"]))
        replaced = chance.choice(([], ["A"], ["A", "R"], ["B"], ["Ax"], ["A", "B"], ["Cy"], new))
        empty = chance.random() < 0.3
        answer = _rollover.may_deploy(
            tuple(map(chain_of, new)), name, list(map(chain_of, replaced)), now, self.timing, empty)
        renewal = bool(replaced) and all(any(_renews(old, who) for who in new) for old in replaced) and all(
            any(_renews(old, who) for old in replaced) for who in new)
        if renewal:
            codes = [(code, None, None) for code, _server in self._old(now, self.timing.look_max_age)]
        else:
            codes = [(one["code"], None, None) for one in _rollover.problems(name, now, self.timing)]
        verdict = "yes"
        for seen in name.may_be_seen(now, self.timing):
            text = next(text for text, version in self.versions.items() if version == seen.version)
            words = frozenset(text.split())
            bad = [who for who in new if (judge.missed(words, who) if judge.usable(words) else not empty)]
            gone = wanted[text][1]
            if bad and all(self._no_worse_than(who, new, replaced, words) for who in bad):
                verdict = "no worse"
            elif bad:
                codes += [("version-unmatched", who, None if gone is None else gone + _held(self.timing, self.ttl_of[text]))
                          for who in bad]
        if now < self.unknown_until and not renewal:
            codes.append(("history-unknown", None, self.unknown_until))
        told = [(one["code"], one.get("chain"), one["until"]) for one in answer.reasons]
        assert told == codes, (told, codes, new, replaced, held)
        times = [until for _code, _chain, until in codes]
        assert answer.verdict == ("no" if codes else verdict), (answer, new, replaced, held)
        assert answer.safe_at == (None if not codes or None in times else max(times))
        self._judge_words(answer, name, now)

    @staticmethod
    def _no_worse_than(who, new, replaced, words):
        algorithm = {old: "R" if old[0] == "R" else "" for old in (*replaced, *new)}
        same = [old for old in replaced if algorithm[old] == algorithm[who]]
        gone = [old for old in replaced if algorithm[old] not in {algorithm[one] for one in new}]
        compared = (same or replaced) + gone
        # An anchor may be in the record itself: what seems to match nothing may match.
        sure = [old for old in compared if _hit(words, old) or not any(word[0] == "2" for word in judge.usable(words))]
        return bool(compared) and all(
            _no_worse(words, who, words, old) and (old in sure or _renews(old, who)) for old in compared)

    @staticmethod
    def _judge_words(answer, name, now):
        for reason in answer.reasons:
            assert reason["owner"] == OWNER and reason["text"].startswith(OWNER + ": ")
            if reason["code"] != "version-unmatched":
                continue
            version = _rollover.Version.from_dict(reason["version"])
            seen = next(one for one in name.versions if one.version == version)
            assert reason["servers"] == sorted(seen.servers)
            records = ", ".join(
                f"{one.usage} {one.selector} {one.mtype} {one.data[:16]}" for one in sorted(version.records))
            said = f"{{{records}}} (TTL {version.ttl})" if records else f"without records (negative TTL {version.ttl})"
            heard, mute = seen.servers - set(name.silent), seen.servers & set(name.silent)
            lost = f" while nothing is heard of {', '.join(name.silent)}{MUTE}" if name.silent else ""
            if reason["until"] is not None:
                where = f"may be in caches for {max(0, reason['until'] - now):.0f} s more"
            else:
                where = " and ".join(
                    [f"is still served by {', '.join(sorted(heard))}"] * bool(heard)
                    + [f"was last given by {', '.join(sorted(mute))}{MUTE}"] * bool(mute)) or "is not known to be gone" + lost
            missing = ", ".join(map(str, sorted(_rollover.unmatched(chain_of(reason["chain"]), version))))
            lacks = f"does not match the chain of key {reason['chain'][0] * 16} in {missing}" if missing else \
                "has no usable record"
            assert reason["text"] == f"{OWNER}: the version {said} {where} and {lacks}", reason


MUTE = " (no answer)"


def _renews(old, new):
    """Whether a chain has the same key and at least the issuers of another."""
    return old[0] == new[0] and set(old[1:]) - {"2"} <= set(new[1:])


# ------------------------------------------------------------------------------------------------------ the TLS side

ENDPOINTS = [(address, name, sni) for address in "01" for name in ("mx", "mail") for sni in ("",)]


def check_chains():
    """`Chains`: looks at random, from the first to the last, against the whole history."""
    chance = random.Random(4)
    for _run in range(RUNS):
        teller, chains = ChainsTeller(chance), _memory.Chains()
        for _step in range(chance.randint(1, 6)):
            chains = teller.step(chains)
            teller.judge(chains)
    return Done(runs=RUNS)


class ChainsTeller:
    """Makes up what endpoints present, and keeps the judge's books."""

    def __init__(self, chance):
        self.chance, self.timing = chance, timing_of(chance)
        self.chains = {who: chain_of(who) for who in ("A", "Bx", "R")}
        self.events, self.at = [], 10.0
        self.looked_at, self.unknown_until = None, 0.0
        self.enabling = chance.random() < 0.2

    @staticmethod
    def key(address, name):
        return f"{address}|{name}|25|ecdsa|"

    def step(self, chains):
        """One more look, or an intent."""
        chance = self.chance
        if chance.random() < 0.2 and self.events:
            who = chance.choice(list(self.chains))
            self.events.append(history.Event(self.at, {}, {}, intent=who))
            return chains.intend(self.chains[who])
        before, self.at = self.at, self.at + chance.choice((0.0, 1.0, 2.0, 4.0))
        outcomes, said, ttls, last = [], {}, {}, before
        leaving = chains.leaving()
        for address in "012"[:chance.choice((1, 2, 2, 3))]:
            for name in ("mx", "mail"):
                key = self.key(address, name)
                endpoint = {"name": name, "address": address, "port": 25, "algorithm": "ecdsa", "sni": "",
                            "ttl": chance.choice((1, 3))}
                if key in leaving and chance.random() < 0.6:
                    endpoint["left"] = True
                else:
                    ttls[key] = endpoint["ttl"]
                if chance.random() < 0.1:
                    del endpoint["ttl"]
                    ttls.update({key: 0} if key in ttls else {})
                told = [chance.choices(("chain", "silent", "no-tls", "no-chain-for-algorithm", "waived"), (9, 1, 1, 1, 1))[0]
                        for _handshake in range(chance.choice((1, 1, 2)))]
                whos = [chance.choice(list(self.chains)) for _one in told]
                for outcome, who in zip(told, whos):
                    when = max(before, self.at + chance.choice((-0.5, 0.0)))
                    last = max(last, when)
                    outcomes.append({"endpoint": endpoint, "outcome": outcome, "detail": "", "at": when,
                                     "chain": self.chains[who].to_dict() if outcome == "chain" else None})
                said[key] = self._said(told, whos)
        self.at = last
        event = history.Event(last, said, ttls)
        self._reckon(event)
        return chains.observe(through_json(outcomes), self.timing, self.enabling)

    @staticmethod
    def _said(told, whos):
        if set(told) & {"chain", "no-tls", "no-chain-for-algorithm"}:
            return history.GAVE, [who for one, who in zip(told, whos) if one == "chain"]
        return (history.SILENT,) if "silent" in told else (history.NOTHING, "waived")

    def _reckon(self, event):
        never_heard = self.told().unknown() if self.events else set()
        self.events.append(event)
        told = self.told()
        if _first_words(never_heard, told, event) or self.looked_at is None and not self.enabling:
            self.unknown_until = event.at + self.timing.linger
        if not told.unknown() and any(said[0] == history.GAVE for said in event.said.values()):
            self.looked_at = event.at

    def told(self):
        return history.History(self.events, lambda ttl: _held(self.timing, ttl))

    def judge(self, chains):
        """Compare all that the memory says with the history."""
        told = self.told()
        wanted = {who: (told.holders(who), told.gone_since(who)) for who in told.things()}
        mine = {seen.chain.id: (set(seen.endpoints), seen.gone_since) for seen in chains.chains}
        assert mine == wanted, (self.events, mine, wanted)
        assert (set(chains.unanswered), chains.looked_at) == (told.unknown(), self.looked_at), self.events
        assert chains.unknown_until == self.unknown_until
        assert set(chains.leaving()) == told.leaving(), self.events
        presented = {who for who in wanted if wanted[who][0]}
        assert {chain.id for chain in chains.presented()} == presented
        some = [self.key("0", "mx"), self.key("1", "mail")]
        assert {chain.id for chain in chains.presented_at(some)} == {who for who in presented if wanted[who][0] & set(some)}
        for now in (self.at, self.at + 1, self.at + self.timing.linger, self.at + self.chance.randint(1, 6)):
            met = {who for who in wanted if wanted[who][1] is None or now < wanted[who][1] + self.timing.linger}
            assert {seen.chain.id for seen in chains.may_be_seen(now, self.timing)} == met
            assert chains.known(now) == (self.looked_at is not None and not told.unknown() and now >= self.unknown_until)
            pruned = chains.pruned(now, self.timing)
            assert {seen.chain.id for seen in pruned.chains} == met
            assert pruned.unknown_until == min(self.unknown_until, now + self.timing.linger)
        assert _memory.Chains.from_dict(through_json(chains.to_dict())) == chains
        for names in (("mx", "mail"), ("mail", "mx")):
            some = [{"name": name, "address": address, "port": 25, "algorithm": "ecdsa", "sni": ""}
                    for name in names for address in "89"]
            left = _memory.left_endpoints(chains, some)
            assert all(endpoint["left"] is True for endpoint in left)
            assert [_memory.endpoint_key(endpoint) for endpoint in left] == chains.leaving()


# ------------------------------------------------------------------------------------------- answers, waivers, defaults


def check_answers():
    """`all_of` and the form of an answer."""
    yes, worse, word = (_rollover.Answer(verdict) for verdict in ("yes", "no worse", "at your word"))
    never, late, later = (_rollover.Answer("no", ({"text": text},), at) for text, at in (("a", None), ("b", 5.0), ("c", 7.0)))
    assert [one.yes for one in (yes, worse, word, late)] == [True, True, True, False]
    assert not _rollover.Answer("".join("no")).yes
    everything = _rollover.all_of
    assert everything([]).verdict == everything([yes, yes]).verdict == "yes"
    assert everything(iter([yes, worse])).verdict == everything([worse, yes]).verdict == "no worse"
    assert everything([yes, word, worse]).verdict == "at your word"
    for answers, at, text in (([late, later], 7.0, "b; c"), ([later, late], 7.0, "c; b"), ([yes, late, worse], 5.0, "b"),
                              ([late, never], None, "b; a"), ([never], None, "a")):
        answer = everything(answers)
        assert (answer.verdict, answer.safe_at, answer.to_dict()["text"]) == ("no", at, text)
        assert answer.to_dict() == {"verdict": "no", "yes": False, "reasons": list(answer.reasons), "safe_at": at, "text": text}
    assert yes.to_dict() == {"verdict": "yes", "yes": True, "reasons": [], "safe_at": None, "text": ""}
    return Done(runs=8)


def check_defaults():
    """The figures of docs/design.md section 2, and the lifetime that they make."""
    timing = _rollover.Timing()
    assert timing == (2, 900, 120, 300, 86400, 60, 7 * 24 * 3600, 3, 600)
    for ttl in (0, 1, 389, 450, 451, 3600, 86400):
        for factor, floor, slack in ((2, 900, 120), (1, 0, 0), (3, 10, 1)):
            wanted = judge.lifetime((ttl,), factor, floor, slack)
            assert _rollover.Timing(factor, floor, slack).lifetime(ttl) == wanted
    assert _rollover.Version(frozenset(), 1).path == () and _memory.Source("a", 1).left is None
    assert _memory.Name(OWNER) == (OWNER, (), (), (), (), (), None, None, 0.0, "", None)
    assert _memory.Chains() == ((), (), (), None, 0.0)
    ledger = _ledger.Ledger()
    assert ledger == ((), _memory.Chains(), None, (), frozenset(), None, ((),)) and ledger.name(OWNER) == _memory.Name(OWNER)
    assert _rollover.Answer("yes") == ("yes", (), None)
    assert _memory.SeenVersion(version_of([]), frozenset(), None).open_until == 0.0
    return Done(runs=21)


DAY = 86400.0


def check_waivers():
    """Waivers: which are read, when they end, and what they reach."""
    good = {"what": "server", "name": " 192.0.2.1 ", "until": "1970-01-03", "reason": " gone "}
    one, = _waivers.parse_waivers(through_json([good]))
    assert one == ("server", "192.0.2.1", 3 * DAY, "gone") and str(one) == "server 192.0.2.1 until 1970-01-03: gone"
    assert str(one._replace(until=DAY + 1)).endswith("until 1970-01-02: gone")
    assert _waivers.parse_waivers([{**good, "until": "1970-01-04"}])[0].until == 4 * DAY
    assert _waivers.parse_waivers(None) == _waivers.parse_waivers([]) == ()
    assert [waiver.what for waiver in _waivers.parse_waivers([good, {**good, "what": "endpoint"}])] == ["server", "endpoint"]
    for part in good:
        for bad in ("", " ", None):
            assert fails(WaiverError, _waivers.parse_waivers, [{**good, part: bad}]), (part, bad)
        assert fails(WaiverError, _waivers.parse_waivers, [{key: good[key] for key in good if key != part}]), part
    for name, written in (("2001:DB8::0:9", "2001:db8::9"), ("NS1.Example.", "ns1.example.")):
        assert _waivers.parse_waivers([{**good, "name": name}])[0].name == written
    for bad in ([{**good, "what": "host"}], [{**good, "until": "1970-13-01"}], [{**good, "until": "1970-01-03T00:00"}], ["x"],
                {"what": "server"}, "server", [None]):
        assert fails(WaiverError, _waivers.parse_waivers, bad), bad
    servers = [{"address": "192.0.2.1", "name": "ns1.", "outcome": "silent", "detail": "timeout"},
               {"address": "192.0.2.1", "name": "ns1.", "outcome": "version", "detail": ""},
               {"address": "192.0.2.2", "name": "ns2.", "outcome": "does-not-serve", "detail": "REFUSED"},
               {"address": "192.0.2.3", "name": None, "outcome": "silent", "detail": ""},
               {"address": "192.0.2.4 port 5353", "name": "ns4", "outcome": "silent", "detail": ""},
               {"address": "192.0.2.5", "name": "nsX.", "outcome": "waived", "detail": "said before"}]
    look = through_json({"owner": OWNER, "servers": servers})
    for name, reached in (("192.0.2.1", [0]), ("ns2", [2]), ("ns2.", [2]), ("192.0.2.3", [3]), ("192.0.2.4", [4]),
                          ("192.0.2.9", []), ("nsX", [5]), ("XX", [])):
        for now, waived in ((0.0, True), (3 * DAY - 1, True), (3 * DAY, False), (4 * DAY, False)):
            told = _waivers.waive_servers(look, [one._replace(name="other"), one._replace(name=name)], now)
            # Who is waived by address and not in the look is put into it.
            absent = told["servers"][:-len(servers)]
            wanted = [who for who in ("other", name) if waived and not who.startswith("192.0.2.") or who == "192.0.2.9"]
            assert told["owner"] == OWNER
            assert [found["address"] for found in absent] == [found for found in wanted if waived], (name, now, absent)
            assert all(found == {
                "address": found["address"], "outcome": "waived", "name": "", "version": None, "left": True,
                "detail": f"waived, {one._replace(name=found['address'])}"} for found in absent)
            for number, (before, after) in enumerate(zip(servers, told["servers"][-len(servers):])):
                if number not in reached:
                    assert after == before
                elif waived:
                    assert after["outcome"] == "waived" and before["detail"] in after["detail"] and "until" in after["detail"]
                else:
                    assert after["outcome"] == before["outcome"] and "run out" in after["detail"]
    return Done(runs=24)


def check_waived_endpoints():
    """Waivers of endpoints, and which of several counts."""
    one = _waivers.Waiver("server", "192.0.2.1", 3 * DAY, "gone")
    look = through_json({"owner": OWNER, "servers": [
        {"address": "192.0.2.1", "name": "ns1.", "outcome": "silent", "detail": "timeout"}]})
    outcomes = through_json([{"endpoint": {"address": address}, "outcome": outcome, "detail": ""}
                             for address, outcome in (("a", "silent"), ("b", "silent"), ("a", "chain"), ("a", "no-tls"))])
    endpoint = one._replace(what="endpoint", name="a")
    for waivers, wanted in (([endpoint], ["waived", "silent", "chain", "no-tls"]),
                            ([one._replace(name="a")], ["silent", "silent", "chain", "no-tls"]),
                            ([], ["silent", "silent", "chain", "no-tls"])):
        assert [found["outcome"] for found in _waivers.waive_endpoints(outcomes, waivers, 1.0)] == wanted
    for what in ("endpoint", "zone"):
        for name in ("192.0.2.1", "192.0.2.9"):
            assert _waivers.waive_servers(look, [endpoint._replace(what=what, name=name)], 1.0) == look
    over = endpoint._replace(until=0.5, reason="before")
    for waivers in ([over, endpoint], [endpoint, over]):
        assert _waivers.waive_endpoints(outcomes, waivers, 1.0)[0]["outcome"] == "waived", "the one in force counts"
    before = [{"endpoint": {"address": "a"}, "outcome": "waived", "detail": "said before"}]
    assert _waivers.waive_endpoints(before, [endpoint], 1.0) == before
    return Done(runs=9)


def check_override():
    """The override: what is one, how far it reaches, and what it makes of an answer."""
    good = {"names": [" MX1.example.", "mx2.example"], "until": " 1970-01-03", "reason": " lost "}
    parse, apply = _waivers.parse_override, _waivers.at_your_word
    word = parse(through_json(good))
    assert word == (frozenset(["mx1.example", "mx2.example"]), 3 * DAY, "lost")
    assert parse(None) is None and parse({}) is None and parse([]) is None
    assert parse({**good, "names": ("mx1.example",)}).names == {"mx1.example"}
    assert parse({**good, "names": ["XX", "MX.XX."]}).names == {"xx", "mx.xx"}
    for part in good:
        for bad in ("", " ", None, [], [" . "], [1], ["x", ""], 5):
            if part != "reason" or bad in ("", " ", None, []):
                assert fails(WaiverError, parse, {**good, part: bad}), (part, bad)
        assert fails(WaiverError, parse, {key: good[key] for key in good if key != part}), part
    for bad in ("yes", [good], 1):
        assert fails(WaiverError, parse, bad), bad

    def reason(name, code="version-unmatched"):
        return {"code": code, "owner": f"_25._tcp.{name}.", "text": name, "until": 5.0}

    for names, codes, reached in (
            (["mx1.example"], ["chain-unmatched"], True), (["MX2.example"], ["x"], True),
            (["mx1.example", "mx2.example"], ["x", "y"], True),
            (["mx3.example"], ["x"], False), (["mx1.example", "mx3.example"], ["x", "x"], False),
            (["example"], ["x"], False), (["mx1.example"], ["empty"], False), (["mx1.example"] * 2, ["x", "empty"], False)):
        answer = _rollover.Answer("no", tuple(map(reason, names, through_json(codes))), 5.0)
        assert apply(answer, None, 0.0) == answer
        for now, counts in ((0.0, True), (3 * DAY - 1, True), (3 * DAY, False), (4 * DAY, False)):
            told = apply(answer, word, now)
            if not reached:
                assert told == answer
                continue
            assert told.reasons[:-1] == answer.reasons, "what was against it is still said"
            last = told.reasons[-1]
            assert (last["owner"], last["until"]) == (answer.reasons[0]["owner"], 5.0)
            assert "until 1970-01-03 (lost)" in last["text"] and last["owner"] in last["text"]
            assert (told.verdict, told.safe_at, last["code"]) == (
                ("at your word", None, "override") if counts else ("no", 5.0, "override-ended"))
    for verdict in ("yes", "no worse"):
        assert apply(_rollover.Answer(verdict), word, 0.0) == _rollover.Answer(verdict)
    return Done(runs=34)


# ------------------------------------------------------------------------------------------------------------ ledgers

TIMES = (0, 1, 1.5, 99999999999)
NO_TIMES = (True, "1", -1, -0.5, float("nan"), float("inf"), 1e11, [], {})
SECONDS = (0, 1, (1 << 40) - 1)
NO_SECONDS = (True, False, "1", -1, 1.5, 1 << 40, (1 << 40) + 1, None, [], {})
TEXTS = ("", "x")
NO_TEXTS = (None, 1, True, [], {}, "\ud800")
NO_LISTS = (None, 1, "", "x", {}, {"a": 1})
#: What stands where in a ledger, and what may and may not stand there instead: values by the name of the kind.
KINDS = {
    "text": (TEXTS, NO_TEXTS),
    "time": (TIMES, (*NO_TIMES, None)),
    "time or not": ((*TIMES, None), NO_TIMES),
    "seconds": (SECONDS, NO_SECONDS),
    "texts": (([], ["x"]), (*NO_LISTS, [1], [None], ["x", 1])),
    "records": (([], ["3 1 1 " + "ab" * 32]), (*NO_LISTS, [1], ["3 1 1"], ["3 1 1 xyz"], "3 1 1 ab")),
    "list": (([],), (*NO_LISTS, [1], ["x"], [None])),
    "ledger's format": ((3,), (0, 1, 2, 4, 3.0, True, "3", None)),
    "names": (({},), (None, 1, "x", [], {OWNER: 1}, {OWNER: {}})),
    "published": (({}, {OWNER: []}), (None, 1, "x", [], {OWNER: 1}, {OWNER: ["x"]})),
    "thing": ((), (None, 1, "x", [], {})),
    "thing or not": ((None,), (0, 1, "", "x", [], {})),
    "path": (([], ["x"]), (*NO_LISTS, [1], [None])),
}
RECORDS = ["3 1 1 " + "ab" * 32, "3 1 1 " + "cd" * 32]


def _a_ledger():
    """A ledger with something everywhere, and what kind of thing stands where (dict of path to kind)."""
    version = {"records": RECORDS, "ttl": 5, "path": ["a.", "b."]}
    name = {
        "versions": [{**version, "servers": ["s1", "s2"], "gone_since": None, "open_until": 3.5},
                     {**version, "ttl": 6, "servers": [], "gone_since": 4.5, "open_until": 0.0}],
        "sources": [["s1", 3, None], ["s2", 4, 8.5]], "lame": [["s3", 2.5, 2]], "silent": ["s1", "s4"],
        "unanswered": ["s4", "s5"], "looked_at": 9.5, "heard_at": 9.25,
        "unknown_until": 11.5, "security": "secure", "signed_until": 77.5}
    chains = {
        "chains": [{"id": "i", "spki": "k", "algorithm": "rsa", "matches": RECORDS, "endpoints": ["e1", "e2"],
                    "gone_since": None},
                   {"id": "j", "spki": "l", "algorithm": "ecdsa", "matches": [], "endpoints": [], "gone_since": 5.5}],
        "sources": [["e1", 3, None], ["e2", 4, 7.5]], "unanswered": ["e3"], "looked_at": 8.5, "unknown_until": 12.5}
    ledger = {
        "format": 3, "names": {OWNER: name}, "chains": chains, "published": {OWNER: RECORDS}, "retired": ["k1", "k2"],
        "operation": {"id": "op", "kind": "rekey", "target_spki": "k", "started": 6.5},
        "clock": {"wall": 13.5, "boot": "b", "uptime": 7.25}, "issuers": [["2 1 1 " + "ab" * 32, 10.5]]}
    kinds = {("format",): "ledger's format", ("names",): "names", ("names", OWNER): "thing", ("chains",): "thing",
             ("published",): "published", ("published", OWNER): "records", ("retired",): "texts",
             ("operation",): "thing or not", ("clock",): "thing or not"}
    for part, kind in (("id", "text"), ("kind", "text"), ("target_spki", "text"), ("started", "time")):
        kinds["operation", part] = kind
    for part, kind in (("wall", "time"), ("boot", "text"), ("uptime", "time")):
        kinds["clock", part] = kind
    name_at, chains_at = ("names", OWNER), ("chains",)
    for at, of in ((name_at, "versions"), (chains_at, "chains")):
        for part, kind in ((of, "list"), ("sources", "list"), ("unanswered", "texts"), ("looked_at", "time or not"),
                           ("unknown_until", "time"), (of, "list")):
            kinds[(*at, part)] = kind
        kinds[(*at, of, 0)] = "thing"
        for part, kind in ((0, "text"), (1, "seconds"), (2, "time or not")):
            kinds[(*at, "sources", 0, part)] = kind
        kinds[(*at, "sources", 0)] = "thing"
        kinds[(*at, of, 1, "gone_since")] = "time or not"
    for part, kind in (("lame", "list"), ("silent", "texts"), ("security", "text"), ("signed_until", "time or not"),
                       ("heard_at", "time or not")):
        kinds[(*name_at, part)] = kind
    for part, kind in ((0, "text"), (1, "time"), (2, "seconds")):
        kinds[(*name_at, "lame", 0, part)] = kind
    for part, kind in (("records", "records"), ("ttl", "seconds"), ("path", "path"), ("servers", "texts"),
                       ("open_until", "time")):
        kinds[(*name_at, "versions", 0, part)] = kind
    for part, kind in (("id", "text"), ("spki", "text"), ("algorithm", "text"), ("matches", "records"), ("endpoints", "texts")):
        kinds[(*chains_at, "chains", 0, part)] = kind
    return ledger, kinds


def _with(data, path, value):
    data = through_json(data)
    place = data
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    return data


def _without(data, path):
    data = through_json(data)
    place = data
    for part in path[:-1]:
        place = place[part]
    del place[path[-1]]
    return data


def check_ledger_files():
    """A ledger comes out of its file as it went in; what is wrong in it, however little, is an error that says so."""
    data, kinds = _a_ledger()
    read = _ledger.Ledger.from_dict
    ledger = read(through_json(data))
    assert through_json(ledger.to_dict()) == data and read(through_json(ledger.to_dict())) == ledger
    hash(ledger)
    assert ledger.clock == (13.5, "b", 7.25) and ledger.operation == ("op", "rekey", "k", 6.5)
    assert ledger.chains.chains[0].chain == ("i", "k", "rsa", frozenset(map(Record.parse, RECORDS)))
    assert ledger.chains.chains[0].endpoints == frozenset(["e1", "e2"]) and ledger.chains.sources[1] == ("e2", 4, 7.5)
    name = ledger.name(OWNER)
    assert name.versions[0].version == (frozenset(map(Record.parse, RECORDS)), 5, ("a.", "b."))
    assert name.versions[0][1:] == (frozenset(["s1", "s2"]), None, 3.5) and name.versions[1][1:] == (frozenset(), 4.5, 0.0)
    assert name.lame == (("s3", 2.5, 2),) and name.unanswered == ("s4", "s5") and name.signed_until == 77.5
    assert ledger.published_at(OWNER) == frozenset(map(Record.parse, RECORDS)) and ledger.retired == {"k1", "k2"}
    assert ledger.issuers.seen == ((Record.parse(data["issuers"][0][0]), 10.5),)
    assert fails(LedgerError, read, _without(data, ("issuers",)))
    for path, kind in kinds.items():
        good, bad = KINDS[kind]
        for value in good:
            assert not fails(Exception, read, _with(data, path, value)), (path, value)
        for value in bad:
            assert fails(LedgerError, read, _with(data, path, value)), (path, value)
        if path[-1] not in ("path", OWNER, 0, 1, 2):
            assert fails(LedgerError, read, _without(data, path)), path
    versions = ("names", OWNER, "versions")
    for path in ((*versions, 1), ("chains", "chains", 1)):
        first = data["names"][OWNER]["versions"][0] if len(path) == 4 else data["chains"]["chains"][0]
        twice = _with(data, path, first)
        assert fails(LedgerError, read, twice), "listed twice"
        gone = (*path[:-1], 0, "gone_since")
        assert fails(LedgerError, read, _with(data, gone, 5.0)), "gone, and yet given"
    for bad in (None, [], "x", 2, {}, {"format": 3}):
        assert fails(LedgerError, read, bad), bad
    try:
        read(_without(data, ("names", OWNER, "versions", 0, "ttl")))
    except LedgerError as exc:
        assert "'ttl' is missing" in str(exc), exc
    empty = _ledger.Ledger()
    assert read(through_json(empty.to_dict())) == empty
    assert _ledger.Operation.from_dict(None) is None
    _check_parts(ledger)
    return Done(runs=sum(len(good) + len(bad) for kind in kinds.values() for good, bad in [KINDS[kind]]))


def _check_parts(ledger):
    other = _memory.Name("other.", looked_at=1.0)
    both = ledger.with_name(other)
    assert both.name("other.") == other and both.name(OWNER) == ledger.name(OWNER) and len(both.names) == 2
    assert both.with_name(other._replace(looked_at=2.0)).name("other.").looked_at == 2.0
    assert len(both.with_name(other._replace(owner=through_json("other."), looked_at=2.0)).names) == 2
    assert both.name("A.") == _memory.Name("A.") and both.name("z.") == _memory.Name("z.")
    assert both.with_name(ledger.name(OWNER)).name("other.") == other and both.with_name(
        _memory.Name("z.")).name("other.") == other
    full = Record.parse("3 1 0 abcd")
    assert both.with_published("other.", [full]).published_at("other.") == {full.brief()}
    assert both.with_published("other.", [full]).published_at(OWNER) == ledger.published_at(OWNER)
    assert both.with_published("A.", [full]).published_at(OWNER) == ledger.published_at(OWNER)
    assert both.with_published(OWNER, []).published == () and both.published_at("other.") == frozenset()
    assert both.with_published(OWNER, [full]).published == ((OWNER, frozenset([full.brief()])),)


def check_looks():
    """What is no look is refused with an error that says so, and changes nothing."""
    timing = _rollover.Timing()
    server = {"address": "1", "name": "n", "outcome": "version", "version": version_of(["311A"]).to_dict(), "ttl": 1}
    look = {"owner": OWNER, "taken_at": 5.0, "security": "secure", "servers": [server]}
    name = _memory.Name(OWNER)
    assert name.observe(look, timing).looked_at == 5.0
    assert name.observe({**look, "servers": []}, timing).versions == ()
    for part, bad in (("owner", "other."), ("owner", "A."), ("taken_at", "x"), ("taken_at", -1), ("security", None),
                      ("servers", None),
                      ("servers", [1]), ("servers", [{}]), ("servers", [{**server, "outcome": "deaf"}]),
                      ("servers", [{**server, "outcome": "weary"}]),
                      ("servers", [{**server, "address": 1}]), ("servers", [{**server, "ttl": "x"}]),
                      ("servers", [{**server, "version": None}]), ("servers", [{**server, "rrsig_expires": "x"}]),
                      ("ip_versions", 4)):
        assert fails(LedgerError, name.observe, {**look, part: bad}, timing), (part, bad)
    for part in look:
        assert fails(LedgerError, name.observe, {key: look[key] for key in look if key != part}, timing), part
    nothing = {**look, "servers": [{**server, "version": version_of([]).to_dict()}]}
    assert name.observe(nothing, timing).unknown_until > 5.0 and not name.observe(nothing, timing, True).unknown_until
    late = name.observe(look, timing)
    lame = {**look, "servers": [{**server, "outcome": "does-not-serve"}]}
    patient = _rollover.Timing(lame_looks=2, lame_seconds=2)
    once = late.observe({**lame, "taken_at": 6.0}, patient)
    assert once.silent and once.observe({**lame, "taken_at": 7.0}, patient).silent
    assert not once.observe({**lame, "taken_at": 12.0}, patient).silent
    about = late.intend(version_of(["311B"]), 5.0, _rollover.Timing(view_max_age=3))
    for at, there in ((11.0, 1), (11.5, 0)):
        after = about.observe({**look, "taken_at": at}, timing)
        assert sum(one.gone_since is None for one in after.versions) == 1 + there, "a door may be open until then"
    assert late.observe({**look, "taken_at": 4.0, "servers": []}, timing) == late, "an older look"
    assert late.observe({**look, "security": "bogus"}, timing).security == "bogus", "one of the same time"
    ended = name.observe({**look, "servers": [
        {**server, "rrsig_expires": 9}, {**server, "address": "2", "rrsig_expires": 7}]}, timing)
    assert ended.signed_until == 7.0 and late.signed_until is None
    endpoint = {"name": "mx", "address": "1", "port": 25, "algorithm": "ecdsa", "sni": "", "ttl": 1}
    outcome = {"endpoint": endpoint, "outcome": "chain", "chain": chain_of("A").to_dict(), "at": 5.0}
    chains = _memory.Chains()
    assert chains.observe([], timing) == chains._replace(unknown_until=float(timing.linger))
    for bad in (None, 1, [1], [{}], [{**outcome, "outcome": "deaf"}],
                [{**outcome, "outcome": "apple"}],
                [{**outcome, "outcome": "weary"}], [{**outcome, "at": "x"}], [{**outcome, "chain": None}],
                [{**outcome, "endpoint": None}], [{**outcome, "endpoint": {**endpoint, "ttl": "x"}}],
                [{**outcome, "endpoint": {key: endpoint[key] for key in endpoint if key != "sni"}}]):
        assert fails(LedgerError, chains.observe, bad, timing), bad
    seen = chains.observe([outcome], timing)
    assert seen.unknown_until > 5.0 and not chains.observe([outcome], timing, True).unknown_until
    assert seen.observe([{**outcome, "at": 4.0, "outcome": "no-tls"}], timing) == seen, "an older look"
    assert seen.observe([{**outcome, "outcome": "no-tls"}], timing) != seen
    assert not fails(DaneError, chains.observe, [{**outcome, "endpoint": {**endpoint, "ttl": None}}], timing)
    assert _memory.endpoint_key({**endpoint, "sni": "s"}) == "1|mx|25|ecdsa|s"
    return Done(runs=40)


def check_clocks_far_ahead():
    """What was noted by a clock that was far ahead makes nobody wait for years."""
    timing = _rollover.Timing(9, 0, 0, 2, 1, view_max_age=3)
    noted = _memory.SeenVersion(version_of(["311A"], 4), frozenset(["1"]), None, 1e6)
    after = _memory.Name(OWNER, (noted,), unknown_until=1e6).pruned(7.0, timing)
    assert (after.versions[0].open_until, after.unknown_until) == (13.0, 43.0)
    assert _memory.Name(OWNER, unknown_until=1e6).pruned(7.0, timing).unknown_until == 8.0
    assert _memory.Name(OWNER, unknown_until=7.5).pruned(7.0, timing).unknown_until == 7.5
    assert _memory.Chains(unknown_until=1e6).pruned(7.0, timing).unknown_until == 9.0
    return Done(runs=4)


def check_families():
    """A server of an IP version that is no longer looked at is forgotten."""
    timing = _rollover.Timing(1, 0, 0, 1, 1)
    servers = [{"address": address, "outcome": "version", "version": version_of([word]).to_dict(), "ttl": 9}
               for address, word in (("::1", "311A"), ("1.1.1.1", "311B"))]
    look = {"owner": OWNER, "taken_at": 5.0, "security": "secure", "servers": servers}
    name = _memory.Name(OWNER).observe(look, timing)
    for families, leaving in (([], ["::1"]), ([4, 6], ["::1"]), ([4], [])):
        after = name.observe({**look, "servers": servers[1:], "ip_versions": families}, timing)
        assert after.leaving() == leaving, (families, after)
    after = name.observe({**look, "servers": servers[:1], "ip_versions": [6]}, timing)
    assert after.leaving() == [] and len(after.served()) == 1
    silent = _memory.Name(OWNER).observe({**look, "servers": [{**servers[0], "outcome": "silent"}, servers[1]]}, timing)
    after = silent.observe({**look, "taken_at": 6.0, "servers": servers[1:], "ip_versions": [4]}, timing)
    assert silent.unanswered == ("::1",) and not after.unanswered and after.unknown_until == silent.unknown_until
    waived = {**look, "taken_at": 6.0, "servers": [{**servers[0], "outcome": "waived"}, servers[1]], "ip_versions": [4]}
    assert silent.observe(waived, timing).unknown_until == silent.unknown_until
    # One that left long ago is not listened to, whatever the operator looks at.
    left = name.observe({**look, "servers": servers[1:]}, timing)
    for families in ([], [4]):
        after = left.observe({**look, "taken_at": 50.0, "servers": [{**servers[0], "left": True}, servers[1]],
                              "ip_versions": families}, timing)
        assert [seen.servers for seen in after.versions if seen.servers] == [frozenset(["1.1.1.1"])], after
    after = name.observe({**look, "taken_at": 50.0, "servers": servers, "ip_versions": [4]}, timing)
    assert len(after.served()) == 2, "one that answers counts"
    return Done(runs=8)


def check_clocks():
    """A wait is measured by the least time that may have passed, the age of a look by the most."""
    chance = random.Random(5)
    data, _kinds = _a_ledger()
    ledger = _ledger.Ledger.from_dict(data)
    for _run in range(RUNS):
        wrote = _ledger.Clock(1000.0, "b", chance.choice((50.0, 500.0)))
        now = _ledger.Clock(wrote.wall + chance.choice((-990, -300, -5, 0, 1, 5, 300, 9000)), chance.choice("bbac"),
                            chance.choice((0.0, 10.0, 51.0, 60.0, 510.0, 800.0)))
        if now.boot == "b" and now.uptime < wrote.uptime:
            now = now._replace(uptime=wrote.uptime + 3)
        stamps = [float(chance.randint(0, 1100)) for _number in range(8)]
        before = _stamped(ledger, stamps)._replace(clock=wrote)
        after = before.at(now)
        by_wall = now.wall - wrote.wall
        for_sure = now.uptime - wrote.uptime if now.boot == "b" else now.uptime
        least, most = min(by_wall, for_sure), max(by_wall, for_sure)
        past = [max(0.0, min(now.wall, now.wall - (wrote.wall - stamp) - least)) for stamp in stamps]
        looked = [max(0.0, min(now.wall, now.wall - (wrote.wall - stamp) - most)) for stamp in stamps]
        ahead = [now.wall + (stamp - wrote.wall) - least if stamp else stamp for stamp in stamps]
        assert after.clock == now
        assert _stamps(after) == [past[0], past[1], past[2], past[3], looked[4], looked[5], ahead[6], ahead[7]] , (
            stamps, now, wrote)
        assert after.name(OWNER).heard_at == looked[4]
        assert after.name(OWNER).versions[0].open_until == (ahead[6] if stamps[6] else 0.0)
        assert after.name(OWNER).versions[0].gone_since is None and after.name(OWNER).sources[0].left is None
        assert after.chains.sources[1].left == past[2] and after.name(OWNER).lame[0] == ("s3", past[3], 2)
    assert ledger._replace(clock=None).at(_ledger.Clock(50.0, "x", 1.0)).name(OWNER) == ledger.name(OWNER)
    first = ledger._replace(clock=None).at(_ledger.Clock(2.0, "x", 1.0))
    assert first.clock == (2.0, "x", 1.0) and first.name(OWNER).looked_at == 2.0, "nothing is of the future"
    assert first.name(OWNER).unknown_until == 11.5
    # A battery is empty, and the clock begins in 1970: what was written an hour ago must be readable afterwards.
    hour = ledger._replace(clock=_ledger.Clock(9000.0, "b", 5000.0)).at(_ledger.Clock(0.0, "b", 8600.0))
    assert _ledger.Ledger.from_dict(through_json(hour.to_dict())) == hour and hour.name(OWNER).looked_at == 0.0
    assert ledger._replace(names=(), chains=_memory.Chains()).at(_ledger.Clock(9.0, "b", 8.0)).chains == _memory.Chains()
    return Done(runs=RUNS)


def _stamped(ledger, stamps):
    """The ledger with these figures in the places that :func:`_stamps` reads."""
    name, chains = ledger.name(OWNER), ledger.chains
    gone, chain, left, lame, looked, heard, unknown, lingers = stamps
    name = name._replace(
        versions=(name.versions[0]._replace(open_until=unknown), name.versions[1]._replace(gone_since=gone)),
        sources=(name.sources[0], name.sources[1]._replace(left=left)), lame=(("s3", lame, 2),), looked_at=looked,
        heard_at=looked, unknown_until=unknown)
    chains = chains._replace(
        chains=(chains.chains[0], chains.chains[1]._replace(gone_since=chain)), looked_at=heard, unknown_until=lingers,
        sources=(chains.sources[0], chains.sources[1]._replace(left=left)))
    return ledger.with_name(name)._replace(chains=chains)


def _stamps(ledger):
    name, chains = ledger.name(OWNER), ledger.chains
    return [name.versions[1].gone_since, chains.chains[1].gone_since, name.sources[1].left, name.lame[0][1], name.looked_at,
            chains.looked_at, name.unknown_until, chains.unknown_until]


def check_merge():
    """Two memories that were one: what either may still hold is held, and what one saw go after the other saw it is gone."""
    chance = random.Random(6)
    for _run in range(4 * RUNS):
        timing, name = timing_of(chance), _memory.Name(OWNER)
        teller = NameTeller(chance, timing)
        for _step in range(chance.randint(0, 3)):
            name = teller.step(name)
        mine = yours = name
        for _step in range(chance.randint(0, 4)):
            if chance.random() < 0.5:
                mine = teller.step(mine)
            else:
                yours = teller.step(yours)
        both = mine.merge(yours)
        if mine == yours == name:
            assert both == mine.merge(mine) and set(both.versions) == set(name.versions)
        _judge_merged(both, mine, yours)
        if mine.looked_at != yours.looked_at:
            assert set(yours.merge(mine).versions) == set(both.versions)
    return Done(runs=RUNS)


def _judge_merged(both, mine, yours):
    known = [{seen.version: seen for seen in one.versions} for one in (mine, yours)]
    late = (yours.looked_at or 0) > (mine.looked_at or 0)
    newer, older = (yours, mine) if late else (mine, yours)
    for part in ("looked_at", "security", "lame", "unanswered", "silent", "signed_until"):
        assert getattr(both, part) == getattr(newer, part)
    assert both.heard_at == max((one.heard_at for one in (mine, yours) if one.heard_at is not None), default=None)
    assert both.unknown_until == max(mine.unknown_until, yours.unknown_until)
    keys = {source.key: source.left for source in (*older.sources, *newer.sources)}
    assert {source.key: source.left for source in both.sources} == keys and len(both.sources) == len(keys)
    for source in both.sources:
        assert source.ttl == max(one.ttl for one in (*older.sources, *newer.sources) if one.key == source.key)
    assert {seen.version for seen in both.versions} == set(known[0]) | set(known[1])
    for seen in both.versions:
        one, other = known[0].get(seen.version), known[1].get(seen.version)
        if not (one and other):
            assert seen == (one or other)
            continue
        # Until when each memory knows that it was there, or was about to be.
        there = [None if found.gone_since is not None else max(name.looked_at or 0, found.open_until)
                 for name, found in ((mine, one), (yours, other))]
        gones = [found.gone_since for found in (one, other) if found.gone_since is not None]
        gone = max(gones, default=None)
        if any(time is not None and (gone is None or gone <= time) for time in there):
            gone = None
        assert seen.gone_since == gone, (one, other, mine.looked_at, yours.looked_at)
        assert seen.open_until == max(one.open_until, other.open_until)
        first, second = (other, one) if late else (one, other)
        assert seen.servers == (frozenset() if gone is not None else first.servers or second.servers)
