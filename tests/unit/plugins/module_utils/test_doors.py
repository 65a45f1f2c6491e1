# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Both doors together, in wrong orders and by wrong hands: two hosts with one name, a zone, and what a sender would see.

The zone is a stand-in that keeps one RRset and refuses an update whose prerequisite does not hold; the doors, the
ledgers and the files are real.
"""

from __future__ import annotations

import pytest
from ansible_collections.mailops.dane.plugins.module_utils import _gate, _plan, _update
from ansible_collections.mailops.dane.plugins.module_utils._errors import RefusedError, UpdateError
from ansible_collections.mailops.dane.plugins.module_utils._rollover import Version
from ansible_collections.mailops.dane.plugins.module_utils._waivers import parse_override
from rollover_values import OWNER, TIMING, endpoint, look, version
from test__gate import FILE_A, FILE_A_OTHER, FILE_B, A, B, Host, described, records

A311, B311 = records(A)[0], records(B)[0]
A312, B312 = records(A, combination="3 1 2")[0], records(B, combination="3 1 2")[0]


class Zone:
    """One RRset on one server, as a publisher (see ``_update.apply``)."""

    name = "the zone"

    def __init__(self, *there):
        self.there, self.ttl = frozenset(there), 10

    def read(self, _zone, _owner):
        return _update.Served(self.there, self.ttl)

    def change(self, _zone, owner, _ttl, add, remove, expected, _allow_empty):
        if expected != self.there:
            raise _update.Conflict(f"Cannot change {owner!r}")
        self.there = (self.there - remove) | add


class World:
    """Two hosts that share the name, each with its own address and ledger, and the zone."""

    def __init__(self, directory, monkeypatch, files=(FILE_A, FILE_A), candidates=(FILE_B, FILE_B), there=(A311, B311)):
        self.zone, self.hosts = Zone(*there), []
        for number, (file, candidate) in enumerate(zip(files, candidates), 1):
            place = directory / f"mx{number}"
            place.mkdir()
            host = Host(place, monkeypatch, file, candidate)
            host.versions = (version(*there),) if there else (version(ttl=60),)
            host.remember()
            self.hosts.append(host)
        for host in self.hosts:
            host.look = self.handshakes
            _gate.note(host.ledger_path, TIMING, outcomes=self.outcomes(), published={OWNER: list(map(str, there))},
                       clock=host.clock)
        self.later(TIMING.linger)

    def later(self, seconds):
        for host in self.hosts:
            host.now += seconds

    @property
    def now(self):
        return self.hosts[0].now

    def outcomes(self, handshakes=1):
        """What a look at every endpoint of the name finds."""
        return self.handshakes([endpoint(1), endpoint(2)], handshakes)

    def handshakes(self, endpoints, handshakes=1):
        by_address = {endpoint(number)["address"]: host for number, host in enumerate(self.hosts, 1)}
        return [by_address[one["address"]]._outcome(one, by_address[one["address"]].presents) for one in endpoints]

    def plan(self, candidate=None):
        """The hosts as the roles describe them, fresh looks in their ledgers."""
        found = []
        for number, host in enumerate(self.hosts, 1):
            ledger, _changed, _lost = _gate.note(
                host.ledger_path, TIMING, looks=[look(self.now, version(*self.zone.there))], outcomes=self.outcomes(),
                clock=host.clock)
            found.append({
                "host": f"mx{number}", "active": True, "owners": [OWNER], "combinations": ["3 1 1"], "ttl": 10,
                "timing": TIMING._asdict(), "ledger": ledger.to_dict(), "candidate": candidate})
        return found

    def publish(self, state, wanted, view=None, override=None, **more):
        """The door of the DNS, with a view as the roles make it."""
        view = view or _plan.views(self.plan(), self.now, **more)
        door = _update.Door(view, lambda: self.now, override)
        _update.apply_all(self.zone, [_update.Wanted(OWNER, "example.test.", frozenset(wanted), 10)], state, door)

    def refused(self, state, wanted, *words, error=RefusedError, **more):
        before = self.zone.there
        with pytest.raises(error) as caught:
            self.publish(state, wanted, **more)
        assert self.zone.there == before
        assert [word for word in (OWNER, *words) if word not in caught.value.message] == []

    def deploy(self, number, **more):
        host = self.hosts[number]
        host.versions = (version(*self.zone.there),)
        # Its file is served at its own address alone.
        endpoints = [one for one in host.unit().endpoints if one["address"] == endpoint(number + 1)["address"]]
        return host.deploy(endpoints=endpoints, **more)

    def mismatches(self):
        """Keys that are presented and not published: what a sender with an empty cache meets (list)."""
        published = {str(record) for record in self.zone.there if record.combination == (3, 1, 1)}
        return [host.presents for host in self.hosts if not published & set(
            next(one for one in (A, B) if host.presents == {A["spki"]: FILE_A, B["spki"]: FILE_B}[one["spki"]])["matches"])]


@pytest.fixture(name="world")
def fixture_world(tmp_path, monkeypatch):
    """Makes a world: see :class:`World`."""
    return lambda **more: World(tmp_path, monkeypatch, **more)


def test_the_record_of_the_key_that_is_served(world):
    shared = world()
    shared.refused("absent", [A311], "the chain of key", A["spki"][:16], "3 1 1")
    shared.refused("exact", [B311], A["spki"][:16])


def test_the_last_record(world):
    world(there=(A311,)).refused("absent", [A311], "no record would be left", error=UpdateError)


def test_the_record_that_another_host_still_needs(world):
    """mx1 serves B already and does not need A; mx2 serves A."""
    world(files=(FILE_B, FILE_A)).refused("absent", [A311], A["spki"][:16])


def test_a_key_that_is_not_published(world):
    shared = world(there=(A311,))
    with pytest.raises(RefusedError, match=f"{OWNER}.*still served by 192.0.2.1.*{B['spki'][:16]} in 3 1 1"):
        shared.deploy(0)
    assert shared.hosts[0].read() == FILE_A and not shared.mismatches()


def test_another_digest_for_the_next_key_alone(world):
    """RFC 7671 section 9: a sender picks the strongest digest, and finds only the next key in it."""
    world().refused("present", [B312], A["spki"][:16], "3 1 2")


def test_the_first_publication_without_the_key_that_is_served(world):
    fresh = world(there=())
    fresh.refused("present", [B311], A["spki"][:16], enabling=True)
    fresh.publish("present", [A311, B311], enabling=True)
    assert fresh.zone.there == {A311, B311}


def test_a_view_that_is_older_than_a_minute(world):
    shared = world(files=(FILE_B, FILE_B))
    view = _plan.views(shared.plan(), shared.now)
    shared.later(61)
    shared.refused("absent", [A311], "is 61 s old", "Look again", view=view)
    shared.publish("absent", [A311])
    assert shared.zone.there == {B311}


@pytest.mark.parametrize("state, wanted, files", [("present", B311, (FILE_A, FILE_A)), ("absent", A311, (FILE_B, FILE_B))])
def test_what_nobody_has_seen_is_not_replaced(world, state, wanted, files):
    """Somebody raises the TTL after the look: caches keep what we are about to replace, and nobody would wait for that."""
    shared = world(files=files, there=(A311, B311) if state == "absent" else (A311,))
    view = _plan.views(shared.plan(), shared.now)
    shared.zone.ttl = 100
    shared.refused(state, [wanted], "(TTL 100), which no look at the authoritative servers has found", view=view)
    shared.zone.ttl = 9
    shared.publish(state, [wanted], view=view)


def test_what_somebody_else_has_put_there_is_looked_at_first(world):
    shared = world(there=(A311,))
    view = _plan.views(shared.plan(), shared.now)
    shared.zone.there = frozenset([A311, A312])
    shared.refused("present", [B311], "which no look at the authoritative servers has found", view=view)
    shared.publish("present", [B311], view={OWNER: {key: told for key, told in view[OWNER].items() if key != "remembered"}})
    assert shared.zone.there == {A311, A312, B311}, "who remembers nothing need not know"


def test_what_was_about_to_be_published_is_remembered(world):
    """The run before died behind its door: what it noted may be what is there."""
    shared = world(there=(A311,))
    for host in shared.hosts:
        _gate.note(host.ledger_path, TIMING, intents={OWNER: [version(A311, B311).to_dict()]}, clock=host.clock)
    view = _plan.views(shared.plan(), shared.now)
    shared.zone.there = frozenset([A311, B311])
    shared.publish("present", [A312], view=view)
    assert shared.zone.there == {A311, B311, A312}


def test_plays_in_the_wrong_order(world):
    """Withdraw, deploy, publish: the first two are refused, and the right order works afterwards."""
    shared = world(there=(A311,))
    shared.refused("absent", [A311], error=UpdateError)
    with pytest.raises(RefusedError):
        shared.deploy(0)
    shared.publish("present", [B311])
    for number in (0, 1):
        with pytest.raises(RefusedError, match="may be in caches for"):
            shared.deploy(number)
    assert not shared.mismatches()
    shared.later(TIMING.lifetime(10))
    for number in (0, 1):
        assert shared.deploy(number)["changed"]
    shared.refused("absent", [A311], A["spki"][:16], "may be met for some time more")
    shared.plan()
    shared.later(TIMING.linger)
    shared.publish("absent", [A311])
    assert shared.zone.there == {B311} and not shared.mismatches()


def override(*names, until="2099-12-31"):
    return parse_override({"names": names or [OWNER.split(".", 2)[2]], "until": until, "reason": "the old key is lost"})


def test_a_deployment_at_the_operators_word(world):
    shared = world(there=(A311,))
    for word, said in ((override("other.example.test"), B["spki"][:16]), (override(until="2020-01-01"), "has run out")):
        with pytest.raises(RefusedError, match=said):
            shared.deploy(0, override=word)
    told = shared.deploy(0, override=override())["answer"]
    assert told["verdict"] == "at your word" and told["yes"] and shared.hosts[0].read() == FILE_B
    assert "still served by 192.0.2.1" in told["text"] and "the old key is lost" in told["text"]


def test_a_wrong_key_is_deployed_at_nobodys_word(world):
    shared = world(there=(A311,))
    with pytest.raises(RefusedError, match="it was retired"):
        _gate.note(shared.hosts[0].ledger_path, TIMING, clock=shared.hosts[0].clock)
        shared.hosts[0].save(shared.hosts[0].ledger._replace(retired=frozenset([B["spki"]])))
        shared.deploy(0, override=override())
    assert shared.hosts[0].read() == FILE_A


def test_a_withdrawal_at_the_operators_word(world):
    shared = world()
    shared.refused("absent", [A311], A["spki"][:16], override=override("other.example.test"))
    shared.publish("absent", [A311], override=override())
    assert shared.zone.there == {B311}
    shared.refused("absent", [B311], "no record would be left", error=UpdateError, override=override())


@pytest.mark.parametrize("moment", range(5))
def test_a_deployment_at_any_moment_of_a_withdrawal(world, moment):
    """Both hosts serve B; the record of A is about to be withdrawn, and somebody goes back to A on mx2 meanwhile.

    Each door is right by what it saw before. Because both note first and ask again, one of them says no.
    """
    shared = world(files=(FILE_B, FILE_B), candidates=(FILE_A, FILE_A))
    steps, hosts, refusals = iter(range(5)), [], []

    def perhaps_deploy():
        if next(steps) == moment:
            try:
                shared.deploy(1)
            except RefusedError as exc:
                refusals.append(exc)

    hosts = shared.plan()
    perhaps_deploy()
    intent = {OWNER: [Version(frozenset({B311}), 10).to_dict()]}
    for number, host in enumerate(shared.hosts):
        ledger, _changed, _lost = _gate.note(host.ledger_path, TIMING, intents=intent, clock=host.clock)
        hosts[number]["ledger"] = ledger.to_dict()
        perhaps_deploy()
    view = _plan.views(hosts, shared.now)
    perhaps_deploy()
    try:
        shared.publish("absent", [A311], view=view)
    except RefusedError as exc:
        refusals.append(exc)
    perhaps_deploy()
    assert len(refusals) == 1 and not shared.mismatches()


def test_a_new_issuer_is_published_before_it_is_served(world):
    """What renew.yml does: both hosts have certificates for their key from another authority, and only 2 1 1 is published."""
    old, new = (records(described(file), combination="2 1 1")[0] for file in (FILE_A, FILE_A_OTHER))
    shared = world(candidates=(FILE_A_OTHER, FILE_A_OTHER), there=(old,))

    def hosts():
        return [{**host, "combinations": ["2 1 1"], "file_spki": A["spki"]} for host in shared.plan(described(FILE_A_OTHER))]

    with pytest.raises(RefusedError, match="still served by .* in 2 1 1"):
        shared.deploy(0)
    (entry,) = _plan.publish(hosts(), shared.now)["records"]
    assert entry["rdata"] == sorted(map(str, (old, new)))
    shared.publish("present", map(_update.Record.parse, entry["rdata"]))
    with pytest.raises(RefusedError, match="may be in caches for"):
        shared.deploy(0)
    shared.plan()
    shared.later(TIMING.lifetime(10))
    for number in (0, 1):
        assert shared.deploy(number)["changed"] and shared.hosts[number].presents == FILE_A_OTHER
    shared.plan()
    shared.later(TIMING.linger)
    assert _plan.withdraw(hosts(), shared.now)["records"] == [], "authorities alternate"
    assert shared.zone.there == {old, new}


def test_a_zone_that_does_not_validate(world):
    shared = world(files=(FILE_B, FILE_B))
    view = _plan.views(shared.plan(), shared.now)
    view[OWNER]["security"] = "bogus"
    shared.refused("absent", [A311], "bogus, not secure", view=view)
