# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A small world of name servers, caches and mail hosts, and the doors of the collection in it.

The world does what it likes: servers take over the zone late, in any order, or fall back to the old one; they and the
hosts are silent to us when they like; old processes live on after a reload, new ones start whenever they like and read
the file; whoever opened a door may die behind it. The operators try everything in any order. Only the two questions,
asked of the real memories, stand between them and a mismatch.

What nobody can see is left out (DESIGN.md section 2): a server that falls back stays there until a look has seen it,
and does not fall back any more once the next key is in a file.
"""

from __future__ import annotations

import hashlib
from collections import deque
from typing import NamedTuple

from ansible_collections.mailops.dane.plugins.module_utils import _rollover
from ansible_collections.mailops.dane.plugins.module_utils._tlsa import Record
from judge import mismatch, strict, verifier

OWNER = "_25._tcp.mx.example.test."


class Scenario(NamedTuple):
    """The bounds of a world. RRsets are texts such as ``311A 311B``, keys are letters, times are ticks."""

    start: tuple  # (RRset, TTL) that all servers give at the beginning
    others: tuple  # the (RRset, TTL) that operators may try to publish
    hosts: str = "A"  # the key that each host serves at the beginning
    keys: tuple = ("B",)  # for each host the keys that operators may try to deploy
    servers: int = 2
    behind: int = 0  # how many of the servers still give the first of ``cached``
    strangers: int = 0  # how many of the hosts are not in the inventory: no ledger, no doors
    ticks: int = 6
    cached: tuple = ()  # the (RRset, TTL) that a cache took over at the beginning
    silent: tuple = ((),)  # the sets of servers (numbers) and hosts (letters a, b) that may be silent in a look
    fallbacks: int = 0
    failures: int = 0  # how many deployments may fail and be put back, or die
    intents: int = 3  # how many times operators may try to publish
    enabling: bool = False
    ledger_lost: bool = False
    accepts: tuple = (strict, verifier)
    goal: tuple = ()  # the RRset at all servers and the keys in all files that show that one gets there
    timing: _rollover.Timing = _rollover.Timing(factor=1, floor=0, slack=0, linger=1, ceiling=2)


class Host(NamedTuple):
    """A mail host: the key in its file, those of its processes, and (key, end) of processes from before a reload."""

    file: str
    running: frozenset
    lingering: tuple = ()
    busy: str = ""  # the key that was in the file before the deployment that is going on: its door is locked


class State(NamedTuple):
    """One moment of the world. ``served`` and ``given`` speak of RRsets by their number."""

    now: int
    served: tuple  # for each server; server 0 is the primary
    given: tuple  # for each RRset: when a server last gave it, or None
    hosts: tuple
    ledgers: tuple  # for each host the number of its (Name, Chains), see Model.ledgers
    intent: int = -1  # the RRset that is about to be published: noted in the ledgers
    granted: bool = False  # asked, and answered yes: the update is on its way
    unseen: frozenset = frozenset()  # servers whose falling back no look has seen
    fallbacks: int = 0
    failures: int = 0
    intents: int = 0


def record(word):
    """The Record of a word such as ``311A``."""
    usage, selector, mtype = map(int, word[:3])
    made = {1: hashlib.sha256, 2: hashlib.sha512}[mtype]((word[:2] + word[3:]).encode())
    return Record(usage, selector, mtype, made.hexdigest())


def chain(key):
    """The Chain of a key."""
    matches = frozenset(record(combination + key) for combination in ("311", "312"))
    return _rollover.Chain(key, key, "ecdsa", matches)


class Model:
    """All that may happen in a scenario."""

    def __init__(self, scenario):
        # A mutant of the module has a Timing of its own.
        self.scenario = scenario._replace(timing=_rollover.Timing(*scenario.timing))
        self.rrsets = [frozenset(text.split()) for text, _ttl in (scenario.start, *scenario.others, *scenario.cached)]
        self.ttls = [ttl for _text, ttl in (scenario.start, *scenario.others, *scenario.cached)]
        self.versions = [_rollover.Version(frozenset(map(record, words)), ttl, (OWNER,))
                         for words, ttl in zip(self.rrsets, self.ttls)]
        self.json = [version.to_dict() for version in self.versions]
        # Each ledger that ever occurs, once: states then compare by numbers.
        self.ledgers, self.numbers, self.looks = [], {}, {}

    def keep(self, name, chains):
        """The number of a ledger. What means nothing is made equal: the order; when a look was, as doors look anew."""
        ledger = (
            name._replace(versions=tuple(sorted(name.versions, key=lambda seen: self.versions.index(seen.version))),
                          looked_at=name.looked_at and 1.0),
            chains._replace(chains=tuple(sorted(chains.chains, key=lambda seen: seen.chain.id)),
                            looked_at=chains.looked_at and 1.0))
        if ledger not in self.numbers:
            self.numbers[ledger] = len(self.ledgers)
            self.ledgers.append(ledger)
        return self.numbers[ledger]

    # ------------------------------------------------------------------------------------------- beginning and end

    def begin(self):
        """The first state."""
        scenario = self.scenario
        given = tuple(1 if number == 0 or number > len(scenario.others) else None for number in range(len(self.rrsets)))
        served = (0,) * (scenario.servers - scenario.behind) + (len(scenario.others) + 1,) * scenario.behind
        hosts = tuple(Host(key, frozenset(key)) for key in scenario.hosts)
        ledgers = (self.keep(_rollover.Name(OWNER), _rollover.Chains()),) * (len(hosts) - scenario.strangers)
        state = State(1, served, given, hosts, ledgers)
        if not scenario.ledger_lost:
            state = self.look(state, (), scenario.enabling)
            known = [self.ledgers[number] for number in state.ledgers]
            state = state._replace(ledgers=tuple(
                self.keep(name._replace(unknown_until=0.0), chains) for name, chains in known))
        return state

    def violation(self, state):
        """The RRset and the key that a sender may hold and meet, and that do not go together; or None."""
        held = [self.rrsets[number] for number in range(len(self.rrsets)) if number in state.served or (
            state.given[number] is not None and state.now < state.given[number] + self.ttls[number])]
        met = {key for host in state.hosts for key in (host.file, *host.running, *(
            old for old, end in host.lingering if state.now < end))}
        return mismatch(held, sorted(met), self.scenario.enabling, self.scenario.accepts)

    def arrived(self, state):
        """Whether the operators have got what they want."""
        rrset, keys = self.scenario.goal
        return all(self.rrsets[number] == frozenset(rrset.split()) for number in state.served) and all(
            (host.file, host.running) == (key, frozenset(key)) for host, key in zip(state.hosts, keys))

    # ------------------------------------------------------------------------------------------ what the world does

    def steps(self, state):
        """Every (word, state) that may come next."""
        if state.now <= self.scenario.ticks:
            # A door does not stand open for long: a view is good for a minute.
            yield "tick", state._replace(now=state.now + 1, intent=-1, granted=False)
        for number in range(1, len(state.served)):
            if state.served[number] != state.served[0] and number not in state.unseen:
                yield f"server {number} takes over", self.serve(state, number, state.served[0])
            if state.served[number] and state.fallbacks < self.scenario.fallbacks and not self.deployed(state):
                fallen = state._replace(fallbacks=state.fallbacks + 1, unseen=state.unseen | {number})
                yield f"server {number} falls back", self.serve(fallen, number, 0)
        for number, host in enumerate(state.hosts):
            if host.file not in host.running:
                yield f"host {number} starts a process", self.host(state, number, running=host.running | {host.file})
        yield from self.doors(state)

    def deployed(self, state):
        return any(host.file != key for host, key in zip(state.hosts, self.scenario.hosts))

    def serve(self, state, server, number):
        given = list(state.given)
        given[state.served[server]] = state.now
        served = state.served[:server] + (number,) + state.served[server + 1:]
        return state._replace(served=served, given=tuple(given))

    @staticmethod
    def host(state, number, **change):
        hosts = list(state.hosts)
        hosts[number] = hosts[number]._replace(**change)
        return state._replace(hosts=tuple(hosts))

    def reload(self, state, number, file):
        host, end = state.hosts[number], state.now + self.scenario.timing.linger
        old = sorted({(key, end) for key in host.running | {host.file} if key != file} | {
            (key, until) for key, until in host.lingering if state.now < until})
        return self.host(state, number, file=file, running=frozenset(file), lingering=tuple(old), busy="")

    # ------------------------------------------------------------------------------------------ what the doors do

    def doors(self, state):
        for silent in self.scenario.silent:
            seen = self.look(state, silent)
            if seen != state:
                yield f"look, silent: {silent}", seen
            if state.intent >= 0 and not state.granted:
                yield from self.ask_to_publish(seen)
            for number, host in enumerate(state.hosts):
                for key in self.scenario.keys[number] if not host.busy else ():
                    yield from self.deploy(seen, number, key)
        yield from self.operators(state)

    def operators(self, state):
        """What operators do when they feel like it; and what follows once a door is open."""
        if state.granted:
            yield f"publish {sorted(self.rrsets[state.intent])}", self.serve(
                state, 0, state.intent)._replace(intent=-1, granted=False)
        if state.intent < 0 and state.intents < self.scenario.intents and not any(host.busy for host in state.hosts):
            for number in range(len(self.scenario.others) + 1):
                if number != state.served[0]:
                    known = [self.ledgers[ledger] for ledger in state.ledgers]
                    noted = tuple(self.keep(name.intend(self.versions[number]), chains) for name, chains in known)
                    yield f"intend {sorted(self.rrsets[number])}", state._replace(
                        intent=number, intents=state.intents + 1, ledgers=noted)
        for number, host in enumerate(state.hosts):
            if host.busy:
                yield f"host {number} reloads", self.reload(state, number, host.file)
                if state.failures < self.scenario.failures:
                    failed = state._replace(failures=state.failures + 1)
                    yield f"host {number} puts back", self.reload(failed, number, host.busy)
                    yield f"host {number}: the run dies", self.host(failed, number, busy="")

    def look(self, state, silent, nothing_before=False):
        """One look at all servers and endpoints goes into the ledgers of all hosts whose door is not locked."""
        running, ledgers = tuple(host.running for host in state.hosts), []
        for host, number in zip(state.hosts, state.ledgers):
            key = (number, state.now, state.served, running, host.file, silent)
            if key not in self.looks:
                self.looks[key] = self.seen(*key, nothing_before)
            ledgers.append(number if host.busy else self.looks[key])
        return state._replace(ledgers=tuple(ledgers), unseen=state.unseen & set(silent))

    def seen(self, number, now, served, running, file, silent, nothing_before):
        """The number of the ledger that a look makes of a ledger."""
        name, chains = self.ledgers[number]
        servers = [{"address": str(number), "outcome": "silent" if number in silent else "version",
                    "version": self.json[rrset]} for number, rrset in enumerate(served)]
        dns = {"owner": OWNER, "taken_at": now, "security": "secure", "servers": servers}
        outcomes = [{
            "endpoint": {"name": "mx", "address": host, "port": 25, "algorithm": "ecdsa", "sni": ""}, "at": now,
            "outcome": "silent" if "ab"[host] in silent else "chain", "chain": chain(key).to_dict(),
        } for host, keys in enumerate(running) for key in sorted(keys)]
        timing = self.scenario.timing
        chains = self.with_file(chains.observe(outcomes), file)
        return self.keep(name.observe(dns, timing, nothing_before).pruned(now, timing), chains.pruned(now, timing))

    @staticmethod
    def with_file(chains, file):
        """What lies in the file is presented by whatever starts next: the gate notes it at every look."""
        return chains.intend(chain(file))

    def ask_to_publish(self, state):
        """The door of the DNS: the intent is noted; now ask, with all ledgers as they are."""
        chains, known = set(), True
        for _name, memory in map(self.ledgers.__getitem__, state.ledgers):
            known = known and memory.looked_at and not memory.unanswered
            chains |= {seen.chain for seen in memory.may_be_seen(state.now, self.scenario.timing)}
        served = [self.versions[number] for number in set(state.served)]
        answer = _rollover.may_publish(
            self.versions[state.intent], chains, served, OWNER, self.scenario.enabling, known)
        if answer.yes:
            yield "may be published", state._replace(granted=True)

    def deploy(self, state, number, key):
        """The door of a host: ask, note the intent, replace the file."""
        host, (name, chains) = state.hosts[number], self.ledgers[state.ledgers[number]]
        if key == host.file and host.running == frozenset(key):
            return
        replaced = [chain(old) for old in sorted(host.running) if old != key]
        answer = _rollover.may_deploy(
            chain(key), name, replaced, state.now, self.scenario.timing, self.scenario.enabling)
        if answer.yes:
            ledgers = list(state.ledgers)
            ledgers[number] = self.keep(name, chains.intend(chain(key)))
            yield f"host {number} replaces its file by {key}", self.host(
                state, number, file=key, busy=host.file)._replace(ledgers=tuple(ledgers))


class Found(NamedTuple):
    """What a search found."""

    states: int
    violation: tuple = ()
    way: tuple = ()
    arrived: bool = False

    def __str__(self):
        return f"{self.states} states" + (f", {self.violation} after: " + "; ".join(self.way) if self.violation else "")


def search(scenario, most=400_000):
    """Search a world breadth-first, to the end or to the first violation (:class:`Found`)."""
    model = Model(scenario)
    first = model.begin()
    came, todo, arrived = {first: None}, deque([first]), False
    while todo:
        state = todo.popleft()
        violation = model.violation(state)
        if violation:
            way = []
            while came[state]:
                word, state = came[state]
                way.append(word)
            return Found(len(came), violation, tuple(reversed(way)), arrived)
        arrived = arrived or model.arrived(state)
        for word, after in model.steps(state):
            if after not in came:
                came[after] = (word, state)
                todo.append(after)
        if len(came) > most:
            raise RuntimeError(f"more than {most} states: make the world smaller")
    return Found(len(came), arrived=arrived)
