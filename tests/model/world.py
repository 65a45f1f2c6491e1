# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A small world of name servers, caches and mail hosts, and the doors of the collection in it.

The world does what it likes: servers take over the zone late, in any order, or fall back to the old one; they and the
hosts are silent to us when they like; servers are lame for a while or leave the NS set, hosts leave with their address;
old processes live on after a reload, new ones start whenever they like and read the file; clocks jump; ledgers are lost;
whoever opened a door may die behind it. The operators try everything in any order. Only the two questions, asked of the
real memories, stand between them and a mismatch.

What nobody can see is left out (docs/design.md, section 2): a server that falls back stays there until a look has seen
it, and does not fall back any more once another key is in a file; a foreign change is not undone before a look, but
after as long as a ledger may go without one.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from typing import NamedTuple

import judge
from ansible_collections.mailops.dane.plugins.module_utils import _ledger, _memory, _rollover, _waivers
from ansible_collections.mailops.dane.plugins.module_utils._tlsa import Record

OWNER = "_25._tcp.mx.example.test."
#: Keys of the algorithm RSA; all others are ECDSA.
RSA = "RST"
TIMING = {"factor": 1, "floor": 0, "slack": 0, "linger": 1, "ceiling": 2, "view_max_age": 0}


class Scenario(NamedTuple):
    """The bounds of a world. Times are ticks.

    RRsets are texts such as ``311A 311B`` with the TTLs along their path. What a host has in its file is a text such as
    ``A`` or ``Ax R``: a chain for each algorithm, its key first, then those who vouch for it. Servers are numbers, 0 is
    the primary; hosts are numbers in the order of ``hosts``, and the letters a, b in ``silent``.
    """

    rrsets: tuple  # (text, TTL, TTL, ...): the first is served at the beginning, others may be published
    hosts: tuple = ("A",)  # what each host has in its file at the beginning
    files: tuple = (("B",),)  # for each host what operators may try to deploy
    goal: tuple = ()  # what is wanted: (number of the RRset, file of each host)
    bridge: tuple = (1,)  # RRsets on the way there, in the order in which a patient operator tries them
    arrives: int = -1  # the earliest tick at which the goal is reached: no wait is longer than it has to be
    servers: int = 2
    behind: int = 0  # how many of the servers still give the last of ``rrsets``
    cached: tuple = ()  # numbers of the RRsets that a cache took over at the beginning
    strangers: int = 0  # how many of the hosts, the last ones, are not in the inventory: no ledger, no doors
    ticks: int = 5
    silent: tuple = ((),)  # who may be silent in a look: sets of server numbers and host letters
    fallbacks: int = 0
    failures: int = 0  # how many deployments may fail and be put back, or die
    intents: int = 3  # how many times operators may try to publish
    operators: int = 1  # how many of them at once
    stepwise: bool = False  # the intent gets into the ledgers of the hosts one after the other
    publishable: tuple = ()  # numbers of the RRsets operators may publish (all of ``rrsets`` when empty)
    enabling: bool = False  # the name is being enabled or retired: that it is empty is fine
    ledger_lost: bool = False  # at the beginning
    losses: int = 0  # and how many times later
    drops: tuple = ()  # servers that may leave the NS set
    ns_ttl: int = 2
    moves: bool = False  # the address may move from host 0 to the last host, which is not reached before
    leaves: bool = False  # host 0 with its address may leave, and then answers or not
    address_ttl: int = 2
    lame: int = 0  # how many times a server may be lame for a while
    dead: tuple = ()  # servers that are gone for good
    waived: int = 0  # until when the operator's waiver for ``dead`` holds
    foreign: tuple = ()  # numbers of the RRsets that others may publish
    foreigns: int = 1
    jumps: tuple = ()  # by how much the wall clock of the hosts may jump
    reboots: int = 0
    skew: int = 0  # by how much the clock of the controller, who looks at the DNS, is off
    controller: bool = False  # looks at the DNS on a merged copy of the memories, and gives it back host by host
    copies: int = 1
    through_json: bool = False  # ledgers lie in files
    timing: tuple = tuple(TIMING.items())


class Host(NamedTuple):
    """A mail host: its file, those of its processes, and (file, end) of processes from before a reload."""

    file: str
    running: frozenset
    lingering: tuple = ()
    busy: str = ""  # what was in the file before the deployment that is going on: its door is locked
    reached: bool = True  # its address is in the DNS
    left: int = -1  # since when it is no longer


class Pending(NamedTuple):
    """A publication under way: noted in ledgers, then asked, and with the answer yes on its way to the primary."""

    rrset: int
    noted: frozenset
    read: int = -1  # the RRset that was there when the answer was yes


class State(NamedTuple):
    """One moment of the world."""

    now: int
    served: tuple  # for each server the number of its RRset
    given: tuple  # for each RRset: when a sender could last get it, or None
    hosts: tuple
    ledgers: tuple  # for each host the number of its ledger, see Model.keep
    pending: tuple = ()
    unseen: frozenset = frozenset()  # servers that changed as no look has seen yet
    left: tuple = ()  # (server, since when it is no longer in the NS set)
    down: tuple = ()  # (server, since when it has been lame)
    copy: int = -1  # the number of the ledger that the controller works on
    copies: int = 0
    clock: tuple = (0, 0, 0)  # how far the wall clock is ahead, the boot, when that was
    spent: tuple = ()  # (what, how many times it went wrong)


class Model:
    """All that may happen in a scenario."""

    def __init__(self, scenario):
        self.scenario = scenario
        self.timing = _rollover.Timing(**dict(scenario.timing))
        self.rrsets = [frozenset(text.split()) for text, *_ttls in scenario.rrsets]
        # Factor, floor and slack are what we add; senders hold an answer for its TTLs.
        self.held_for = [judge.lifetime(ttls) for _text, *ttls in scenario.rrsets]
        self.versions = [_rollover.Version(frozenset(map(record, words)), sum(ttls), (OWNER,) * len(ttls))
                         for words, (_text, *ttls) in zip(self.rrsets, scenario.rrsets)]
        self.json = [version.to_dict() for version in self.versions]
        everything = sorted({word for text in [*scenario.hosts, *(f for files in scenario.files for f in files)]
                             for word in text.split()})
        words = sorted(set().union(*self.rrsets))
        self.chains = {word: chain(word, words) for word in everything}
        self.algorithms = sorted({found.algorithm for found in self.chains.values()})
        self.publishable = scenario.publishable or tuple(range(len(self.rrsets)))
        # Where a look is always taken at once, when it was need not tell states apart.
        self.exact = bool(scenario.controller or scenario.jumps or scenario.reboots or scenario.skew or scenario.foreign)
        # Each ledger that ever occurs, once: states then compare by numbers.
        self.ledgers, self.numbers, self.looks, self.older = [], {}, {}, {}
        self.borne = ()

    # ------------------------------------------------------------------------------------------- beginning and end

    def begin(self):
        """The first state."""
        scenario = self.scenario
        last = len(self.rrsets) - 1
        served = (0,) * (scenario.servers - scenario.behind) + (last,) * scenario.behind
        given = tuple(1 if number in served or number in scenario.cached else None for number in range(len(self.rrsets)))
        hosts = [Host(file, frozenset([file])) for file in scenario.hosts]
        if scenario.moves:
            hosts[-1] = hosts[-1]._replace(reached=False)
        empty = self.keep(_ledger.Ledger(names=(_memory.Name(OWNER),)))
        state = State(1, served, given, tuple(hosts), (empty,) * (len(hosts) - scenario.strangers))
        # Room for clocks that jump back.
        state = state._replace(clock=(100 if scenario.jumps else 0, 0, 0))
        state = state._replace(down=tuple((number, 1) for number in scenario.dead))
        if not scenario.ledger_lost:
            heard = state._replace(down=())
            state = state._replace(ledgers=self.look(heard, (), scenario.enabling).ledgers)
            known = [self.ledgers[number] for number in state.ledgers]
            state = state._replace(ledgers=tuple(
                self.keep(one.with_name(one.name(OWNER)._replace(unknown_until=0.0))._replace(
                    chains=one.chains._replace(unknown_until=0.0))) for one in known))
        # How senders fared at the beginning, host by host: worse it must not become.
        held = [self.rrsets[number] for number in self.held(state)]
        self.borne = tuple(frozenset().union(*(
            judge.accepted(rrset, met, scenario.enabling) for rrset in held for met in self.met(state, host)))
            for host in range(len(hosts)))
        if scenario.moves:
            self.borne = (frozenset(),) * len(hosts)
        return state

    def held(self, state):
        """The numbers of the RRsets that senders may hold."""
        giving = self.giving(state)
        return [number for number in range(len(self.rrsets)) if number in giving or (
            state.given[number] is not None and state.now < state.given[number] + self.held_for[number])]

    def giving(self, state):
        """The numbers of the RRsets that some server gives whom senders may ask."""
        return {number for server, number in enumerate(state.served) if self.asked(state, server)}

    def asked(self, state, server):
        """Whether senders get an answer from this server: it answers, and its address is known or cached."""
        if any(server == one for one, _since in state.down):
            return False
        return all(server != one or state.now < since + self.scenario.ns_ttl for one, since in state.left)

    def met(self, state, number):
        """The chains that senders may meet at a host, in its processes and in those that may start any time."""
        host = state.hosts[number]
        if not host.reached and (host.left < 0 or state.now >= host.left + self.scenario.address_ttl):
            return []
        files = {host.file, *host.running, *(old for old, end in host.lingering if state.now < end)}
        return sorted({word for file in files for word in file.split()})

    def violation(self, state):
        """The RRset and the chain that a sender may hold and meet, and that do not go together; or None."""
        held = [self.rrsets[number] for number in self.held(state)]
        for number in range(len(state.hosts)):
            found = judge.mismatch(held, self.met(state, number), self.scenario.enabling, self.borne[number])
            if found:
                return found
        return None

    def arrived(self, state):
        """Whether the operators have got what they want."""
        rrset, *files = self.scenario.goal
        wanted = self.rrsets[rrset]
        dropped = {server for server, _since in state.left + state.down}
        return all(self.rrsets[number] == wanted for server, number in enumerate(state.served) if server not in dropped) \
            and not state.pending and all(
                (host.file, host.running) == (file, frozenset([file])) for host, file in zip(state.hosts, files))

    # ------------------------------------------------------------------------------------------ what the world does

    def steps(self, state):
        """Every (word, state) that may come next."""
        if state.now <= self.scenario.ticks:
            yield "tick", self.tick(state)
        yield from self.servers(state)
        for number, host in enumerate(state.hosts):
            if host.file not in host.running:
                yield f"host {number} starts a process", self.host(state, number, running=host.running | {host.file})
        yield from self.misfortunes(state)
        yield from self.doors(state)

    def tick(self, state):
        """Time passes. A door does not stand open for long: a view is good for a minute."""
        now = state.now + 1
        given = list(state.given)
        for server, number in enumerate(state.served):
            # Whoever could ask it until now got this until now.
            if any(server == one for one, _since in state.left) and self.asked(state, server):
                given[number] = now
        held = tuple(when if when is not None and now < when + ttl else None for when, ttl in zip(given, self.held_for))
        hosts = tuple(host._replace(lingering=tuple(one for one in host.lingering if now < one[1])) for host in state.hosts)
        state = state._replace(now=now, given=held, hosts=hosts, pending=())
        return state._replace(ledgers=tuple(self.aged(number, self.wall(state)) for number in state.ledgers),
                              copy=state.copy if state.copy < 0 else self.aged(state.copy, self.wall(state)))

    def aged(self, number, now):
        """The number of a ledger without what time has made meaningless: until when a door stood open."""
        if (number, now) not in self.older:
            ledger = self.ledgers[number]
            name = ledger.name(OWNER)
            self.older[number, now] = self.keep(ledger.with_name(name._replace(versions=tuple(
                seen._replace(open_until=0.0) if seen.open_until < now else seen for seen in name.versions))))
        return self.older[number, now]

    def servers(self, state):
        gone, lame = dict(state.left), dict(state.down)
        for number in range(1, len(state.served)):
            if number in gone:
                continue
            if number in lame and number not in self.scenario.dead:
                yield f"server {number} comes back", self.back(state, number, state.now - lame[number])
            if number in lame:
                continue
            if state.served[number] != state.served[0] and number not in state.unseen:
                yield f"server {number} takes over", self.serve(state, number, state.served[0])
            if state.served[number] and self.left_of(state, "fallbacks") and not self.deployed(state):
                fallen = self.spend(state, "fallbacks")._replace(unseen=state.unseen | {number})
                yield f"server {number} falls back", self.serve(fallen, number, 0)
            if self.left_of(state, "lame"):
                given = self.given(state, number)
                yield f"server {number} is lame", self.spend(state, "lame")._replace(
                    given=given, down=(*state.down, (number, state.now)))
            if number in self.scenario.drops:
                yield f"server {number} leaves the NS set", state._replace(left=(*state.left, (number, state.now)))

    def back(self, state, number, away):
        # One that was away for long asks for the zone first; one that was just starting has what it had.
        state = state._replace(down=tuple(one for one in state.down if one[0] != number))
        if away < self.timing.lame_seconds:
            return state
        return state._replace(served=state.served[:number] + (state.served[0],) + state.served[number + 1:])

    def misfortunes(self, state):
        scenario = self.scenario
        for number in scenario.foreign:
            unseen = 0 in state.unseen and not self.long_ago(state)
            if self.left_of(state, "foreigns") and not unseen and number != state.served[0]:
                changed = self.serve(self.spend(state, "foreigns"), 0, number)
                if not self.violation(changed):
                    yield f"others publish {sorted(self.rrsets[number])}", changed._replace(unseen=state.unseen | {0})
        for number in range(len(state.ledgers)):
            if self.left_of(state, "losses") and not state.hosts[number].busy:
                lost = list(state.ledgers)
                lost[number] = self.keep(_ledger.Ledger(names=(_memory.Name(OWNER),)))
                yield f"host {number} loses its ledger", self.spend(state, "losses")._replace(ledgers=tuple(lost))
        ahead, boot, since = state.clock
        for by in scenario.jumps:
            if not dict(state.spent).get("jumps"):
                yield f"the clock jumps by {by}", self.spend(state, "jumps")._replace(clock=(ahead + by, boot, since))
        if self.left_of(state, "reboots"):
            yield "the hosts start anew", self.spend(state, "reboots")._replace(clock=(ahead, boot + 1, state.now))
        if (scenario.moves or scenario.leaves) and state.hosts[0].reached:
            moved = self.host(state, 0, reached=False, left=state.now)
            if scenario.moves:
                moved = self.host(moved, len(state.hosts) - 1, reached=True)
            if not self.violation(moved):
                yield "the address moves", moved

    def long_ago(self, state):
        """Whether no ledger has had a look for longer than a ledger may go without one."""
        names = [self.ledgers[number].name(OWNER) for number in state.ledgers]
        return all(self.wall(state) - (name.heard_at or 0) > self.timing.look_max_age for name in names)

    def left_of(self, state, what):
        return dict(state.spent).get(what, 0) < getattr(self.scenario, what)

    @staticmethod
    def spend(state, what):
        spent = dict(state.spent)
        spent[what] = spent.get(what, 0) + 1
        return state._replace(spent=tuple(sorted(spent.items())))

    def deployed(self, state):
        return any(host.file != file for host, file in zip(state.hosts, self.scenario.hosts))

    def given(self, state, server):
        given = list(state.given)
        given[state.served[server]] = state.now
        return tuple(given)

    def serve(self, state, server, number):
        given = self.given(state, server) if self.asked(state, server) else state.given
        return state._replace(served=state.served[:server] + (number,) + state.served[server + 1:], given=given)

    @staticmethod
    def host(state, number, **change):
        hosts = list(state.hosts)
        hosts[number] = hosts[number]._replace(**change)
        return state._replace(hosts=tuple(hosts))

    def reload(self, state, number, file):
        host, end = state.hosts[number], state.now + self.timing.linger
        old = sorted({(one, end) for one in host.running | {host.file} if one != file} | {
            (one, until) for one, until in host.lingering if state.now < until})
        return self.host(state, number, file=file, running=frozenset([file]), lingering=tuple(old), busy="")

    # ------------------------------------------------------------------------------------------ what the doors do

    def doors(self, state):
        for silent in self.scenario.silent:
            seen = self.look(state, silent)
            if seen != state and not self.scenario.controller:
                yield f"look, silent: {silent}", seen
            for place, pending in enumerate(state.pending):
                if pending.read < 0 and len(pending.noted) == len(state.ledgers):
                    # The roles look at the endpoints once more before they ask; at the DNS they looked whenever it was.
                    yield from self.ask_to_publish(self.look(state, silent, dns=False), place)
            for number in range(len(state.ledgers)):
                for file in self.scenario.files[number] if not state.hosts[number].busy else ():
                    before = self.look_of(state, silent, number) if self.scenario.controller else seen
                    yield from self.deploy(before, number, file)
        if self.scenario.controller:
            yield from self.controller(state)
        yield from self.operators(state)
        yield from self.deployments(state)

    def operators(self, state):
        """What operators do when they feel like it; and what follows once a door is open."""
        for place, pending in enumerate(state.pending):
            if pending.read >= 0:
                yield from self.publish(state, place, pending)
                continue
            for number, host in enumerate(state.hosts[:len(state.ledgers)]):
                if number not in pending.noted and not host.busy:
                    noted = pending._replace(noted=pending.noted | {number})
                    yield f"host {number} notes the intent", self.intend(state, number, pending.rrset)._replace(
                        pending=_put(state.pending, place, noted))
        if len(state.pending) >= self.scenario.operators or not self.left_of(state, "intents"):
            return
        for number in self.publishable:
            if number != state.served[0] and all(one.rrset != number for one in state.pending):
                yield from self.begin_to_publish(self.spend(state, "intents"), number)

    def begin_to_publish(self, state, number):
        noted = frozenset()
        if not self.scenario.stepwise:
            if any(host.busy for host in state.hosts):
                return
            for host in range(len(state.ledgers)):
                state, noted = self.intend(state, host, number), noted | {host}
        yield f"intend {sorted(self.rrsets[number])}", state._replace(pending=(*state.pending, Pending(number, noted)))

    def publish(self, state, place, pending):
        """The update is on its way: it is carried out only if what was read is still there."""
        if pending.read != state.served[0]:
            again = _put(state.pending, place, pending._replace(read=-1))
            yield "a conflict: read and ask again", state._replace(pending=again)
            return
        after = self.serve(state._replace(pending=_put(state.pending, place)), 0, pending.rrset)
        yield f"publish {sorted(self.rrsets[pending.rrset])}", after
        for number in range(len(state.ledgers)):
            if not state.hosts[number].busy:
                ledger = self.read(after, number)
                after = self.write(after, number, ledger.with_name(
                    ledger.name(OWNER).settled(self.versions[pending.rrset])))
        yield f"publish {sorted(self.rrsets[pending.rrset])} and note it", after

    def intend(self, state, host, number):
        ledger = self.read(state, host)
        return self.write(state, host, ledger.with_name(ledger.name(OWNER).intend(
            self.versions[number], self.wall(state), self.timing)))

    def deployments(self, state):
        for number, host in enumerate(state.hosts):
            if host.busy:
                yield f"host {number} reloads", self.reload(state, number, host.file)
                if self.left_of(state, "failures"):
                    failed = self.spend(state, "failures")
                    yield f"host {number} puts back", self.reload(failed, number, host.busy)
                    yield f"host {number}: the run dies", self.host(failed, number, busy="")

    def controller(self, state):
        """The controller merges the memories of all hosts, looks at the DNS, and gives each host its memory back."""
        if state.copy < 0 and state.copies < self.scenario.copies:
            number = self.keep(_ledger.Ledger(names=(self.merged(state),)))
            yield "the controller reads the ledgers", state._replace(copy=number, copies=state.copies + 1)
        if state.copy < 0:
            return
        for silent in self.scenario.silent:
            seen = self.keep(self.with_dns(self.ledgers[state.copy], state, silent, skew=self.scenario.skew))
            if seen != state.copy:
                yield f"the controller looks, silent: {silent}", state._replace(copy=seen)
        for number, host in enumerate(state.hosts[:len(state.ledgers)]):
            if not host.busy:
                ledger = self.read(state, number)
                newer = self.ledgers[state.copy].name(OWNER)
                given = self.write(state, number, ledger.with_name(ledger.name(OWNER).merge(newer)))
                if given != state:
                    yield f"host {number} gets its memory back", given
        yield "the controller is done", state._replace(copy=-1)

    def merged(self, state):
        """What all hosts together remember of the name."""
        names = [self.read(state, number).name(OWNER) for number in range(len(state.ledgers))]
        merged = names[0]
        for name in names[1:]:
            merged = merged.merge(name)
        return merged

    def look(self, state, silent, nothing_before=False, dns=True):
        """One look at all servers and endpoints goes into the ledgers of all hosts whose door is not locked.

        :param dns: False: at the endpoints alone.
        """
        for number in range(len(state.ledgers)):
            state = self.look_of(state, silent, number, nothing_before, dns)
        return state._replace(unseen=state.unseen & set(silent)) if dns else state

    def look_of(self, state, silent, number, nothing_before=False, dns=True):
        """One look into the ledger of one host."""
        if state.hosts[number].busy:
            return state
        key = (state.ledgers[number], state.now, state.clock, state.served, state.left, state.down, silent, number, dns,
               tuple((host.running, host.reached, host.left, host.file) for host in state.hosts))
        if key not in self.looks:
            ledger = self.read(state, number)
            ledger = self.with_dns(ledger, state, silent, nothing_before) if dns else ledger
            ledger = self.with_endpoints(ledger, state, silent, number, nothing_before)
            now = self.wall(state)
            ledger = ledger.with_name(ledger.name(OWNER).pruned(now, self.timing))._replace(
                chains=ledger.chains.pruned(now, self.timing))
            self.looks[key] = self.keep(ledger._replace(clock=self.clock(state)))
        ledgers = list(state.ledgers)
        ledgers[number] = self.looks[key]
        return state._replace(ledgers=tuple(ledgers))

    def with_dns(self, ledger, state, silent, nothing_before=False, skew=0):
        name, gone, lame = ledger.name(OWNER), dict(state.left), dict(state.down)
        servers = []
        for number, rrset in enumerate(state.served):
            if number in gone and str(number) not in name.leaving():
                continue
            server = {"address": str(number), "name": f"ns{number}.", "outcome": "version", "version": self.json[rrset],
                      "ttl": self.scenario.ns_ttl, "detail": "", "rrsig_expires": None, "left": number in gone}
            if number in silent or number in self.scenario.dead:
                server.update(outcome="silent", version=None)
            elif number in lame:
                server.update(outcome="does-not-serve", version=None)
            servers.append(server)
        look = {"owner": OWNER, "taken_at": self.wall(state) + skew, "servers": servers,
                "security": "bogus" if "bogus" in silent else "secure"}
        waivers = tuple(_waivers.Waiver("server", str(number), self.scenario.waived, "gone")
                        for number in self.scenario.dead if self.scenario.waived)
        look = _waivers.waive_servers(json.loads(json.dumps(look)), waivers, self.wall(state))
        return ledger.with_name(name.observe(look, self.timing, nothing_before))

    def with_endpoints(self, ledger, state, silent, number, nothing_before=False):
        outcomes, now = [], self.wall(state)
        leaving = {key.partition("|")[0] for key in ledger.chains.leaving()}
        for place, host in enumerate(state.hosts):
            if not host.reached and str(place) not in leaving:
                continue
            for algorithm in self.algorithms:
                where = endpoint(place, algorithm)
                where.update(ttl=self.scenario.address_ttl, left=not host.reached)
                for file in sorted(host.running):
                    found = [word for word in file.split() if self.chains[word].algorithm == algorithm]
                    outcomes.append({
                        "endpoint": where, "at": now, "detail": "", "chain": self.chains[found[0]].to_dict() if found else None,
                        "outcome": "silent" if "ab"[place] in silent else
                        "chain" if found else "no-chain-for-algorithm"})
        if not outcomes:
            return ledger
        # What lies in the file is presented by whatever starts next: the gate notes it at every look.
        nothing_before = nothing_before and not any(seen.version.records for seen in ledger.name(OWNER).versions)
        chains = ledger.chains.observe(json.loads(json.dumps(outcomes)), self.timing, nothing_before)
        for word in state.hosts[number].file.split():
            chains = chains.intend(self.chains[word])
        return ledger._replace(chains=chains)

    def ask_to_publish(self, state, place):
        """The door of the DNS: the intent is noted; now ask, with all ledgers as they are."""
        chains, known, gone, pending, now = set(), True, {}, state.pending[place], self.wall(state)
        served = {self.versions[state.served[0]]}
        merged = self.merged(state)
        for number in range(len(state.ledgers)):
            memory = self.read(state, number).chains
            known = known and memory.known(now)
            chains |= {seen.chain for seen in memory.may_be_seen(now, self.timing)}
            served.update(self.read(state, number).name(OWNER).served())
        answer = _rollover.may_publish(
            self.versions[pending.rrset], chains, served, OWNER, self.scenario.enabling, known, gone,
            replaced=self.versions[state.served[0]], remembered=merged.there())
        if answer.yes:
            granted = pending._replace(read=state.served[0])
            yield "may be published", state._replace(pending=_put(state.pending, place, granted))

    def deploy(self, state, number, file):
        """The door of a host: ask, note the intent, replace the file."""
        host, ledger = state.hosts[number], self.read(state, number)
        if file == host.file and host.running == frozenset([file]):
            return
        new = tuple(self.chains[word] for word in file.split())
        ours = {_memory.endpoint_key(endpoint(number, algorithm)) for algorithm in self.algorithms}
        name = ledger.name(OWNER)
        if not self.exact and name.heard_at:
            name = name._replace(looked_at=float(state.now), heard_at=float(state.now))
        answer = _rollover.may_deploy(
            new, name, ledger.chains.presented_at(ours), self.wall(state), self.timing,
            self.scenario.enabling)
        if not answer.yes:
            return
        chains = ledger.chains
        for one in new:
            chains = chains.intend(one)
        noted = self.write(state, number, ledger._replace(chains=chains))
        yield f"host {number} replaces its file by {file}", self.host(noted, number, file=file, busy=host.file)
        if self.left_of(state, "failures"):
            yield f"host {number} notes {file} and dies", self.spend(noted, "failures")

    # ------------------------------------------------------------------------------------------------- ledgers

    def wall(self, state):
        """What the wall clock of the hosts says."""
        return state.now + state.clock[0]

    def clock(self, state):
        if not self.scenario.jumps and not self.scenario.reboots:
            return None
        return _ledger.Clock(float(self.wall(state)), str(state.clock[1]), float(state.now - state.clock[2]))

    def read(self, state, number):
        """The ledger of a host as it reads it now."""
        ledger, clock = self.ledgers[state.ledgers[number]], self.clock(state)
        return ledger.at(clock) if clock else ledger

    def write(self, state, number, ledger):
        ledgers = list(state.ledgers)
        ledgers[number] = self.keep(ledger._replace(clock=self.clock(state)))
        return state._replace(ledgers=tuple(ledgers))

    def keep(self, ledger):
        """The number of a ledger. What means nothing is made equal: the order, and when a look was."""
        if self.scenario.through_json:
            ledger = _ledger.Ledger.from_dict(json.loads(json.dumps(ledger.to_dict())))
        name, chains = ledger.name(OWNER), ledger.chains
        name = name._replace(versions=tuple(sorted(name.versions, key=lambda seen: self.versions.index(seen.version))))
        # How often a server was found lame matters only until it is often enough.
        name = name._replace(lame=tuple(
            (address, since, min(looks, self.timing.lame_looks)) for address, since, looks in name.lame))
        chains = chains._replace(chains=tuple(sorted(chains.chains, key=lambda seen: seen.chain.id)))
        if not self.exact:
            name = name._replace(looked_at=name.looked_at and 1.0, heard_at=name.heard_at and 1.0)
            chains = chains._replace(looked_at=chains.looked_at and 1.0)
        ledger = ledger._replace(names=(name,), chains=chains)
        if ledger not in self.numbers:
            self.numbers[ledger] = len(self.ledgers)
            self.ledgers.append(ledger)
        return self.numbers[ledger]


def _put(things, place, *other):
    """The tuple with other things, or none, at a place."""
    return (*things[:place], *other, *things[place + 1:])


def record(word):
    """The Record of a word such as ``311A``."""
    usage, selector, mtype = map(int, word[:3])
    made = {0: hashlib.sha256, 1: hashlib.sha256, 2: hashlib.sha512}[mtype]((word[:2] + word[3:]).encode()).hexdigest()
    return Record(usage, selector, mtype, made if mtype else "sha256:" + made)


def chain(word, words):
    """The Chain of a word such as ``Ax``, as far as these records can tell."""
    matches = frozenset(record(one) for one in words if judge.suits(one, word))
    return _rollover.Chain(word, word[0], "rsa" if word[0] in RSA else "ecdsa", matches | {record("311" + word[0])})


def endpoint(number, algorithm):
    """The JSON form of a host's endpoint for one algorithm."""
    return {"name": "mx", "address": str(number), "port": 25, "algorithm": algorithm, "sni": ""}


# ------------------------------------------------------------------------------------------------------------ searching


class Found(NamedTuple):
    """What a search found."""

    states: int
    violation: tuple = ()
    way: tuple = ()
    arrived: int = -1
    completed: int = 0
    stuck: str = ""

    def __str__(self):
        return f"{self.states} states" + (f", completed from {self.completed}" if self.completed else "") + (
            f", {self.violation} after: " + "; ".join(self.way) if self.violation else "") + (
            f", stuck: {self.stuck}" if self.stuck else "")


def search(scenario, most=400_000, sample=60):
    """Search a world breadth-first, to the end or to the first violation (:class:`Found`).

    :param sample: from every so many states, too, a patient operator without misfortune has to get to the goal.
    """
    model = Model(scenario)
    first = model.begin()
    came, todo, arrived, completed = {first: None}, deque([first]), -1, 0
    while todo:
        state = todo.popleft()
        violation = model.violation(state)
        if violation:
            return Found(len(came), violation, way_to(came, state), arrived)
        if arrived < 0 and scenario.goal and model.arrived(state):
            arrived = state.now
        for word, after in model.steps(state):
            if after not in came:
                came[after] = (word, state)
                todo.append(after)
        if len(came) > most:
            raise RuntimeError(f"more than {most} states: make the world smaller")
    if scenario.goal:
        for state in list(came)[::sample]:
            way = complete(model, state)
            if way:
                return Found(len(came), (), (), arrived, completed, "; ".join([*way_to(came, state), "AND THEN", *way]))
            completed += 1
    return Found(len(came), (), (), arrived, completed)


def way_to(came, state):
    """How a state was reached (tuple of words)."""
    way = []
    while came[state]:
        word, state = came[state]
        way.append(word)
    return tuple(reversed(way))


def complete(model, state, patience=40):
    """Go to the goal as a patient operator does whom nothing stands in the way of: the words of a way that leads
    nowhere, or nothing when one gets there (or when the judge objects: :func:`search` would have found that)."""
    way, (goal, *files) = [], model.scenario.goal
    state = state._replace(unseen=frozenset(), copy=-1, pending=())
    for _turn in range(patience):
        state = model.look(settled(model, state), ())
        state = settled(model, _deploy_where_possible(model, state, files, way))
        state = settled(model, _publish_what_is_possible(model, state, (goal, *model.scenario.bridge), way))
        if model.arrived(state):
            return ()
        way.append("tick")
        state = model.tick(state)
    return tuple(way)


def settled(model, state):
    """The state after everything that comes by itself has come."""
    comes = ("takes over", "starts a process", " reloads", " comes back")
    while True:
        after = next((after for word, after in model.steps(state._replace(pending=())) if word.endswith(comes)), None)
        if after is None:
            return state
        state = after


def _deploy_where_possible(model, state, files, way):
    for number in range(len(state.ledgers)):
        if state.hosts[number].running != {files[number]} or state.hosts[number].file != files[number]:
            for word, after in list(model.deploy(state, number, files[number]))[:1]:
                way.append(word)
                state = after
    return state


def _publish_what_is_possible(model, state, wanted, way):
    for number in wanted:
        if number == state.served[0]:
            return state
        asked = state._replace(pending=(Pending(number, frozenset()),))
        if not list(model.ask_to_publish(asked, 0)):
            continue
        for host in range(len(state.ledgers)):
            state = model.intend(state, host, number)
        way.append(f"publish {sorted(model.rrsets[number])}")
        for _word, _after in model.ask_to_publish(state._replace(pending=(Pending(number, frozenset()),)), 0):
            return model.serve(state, 0, number)
        return state
    return state
