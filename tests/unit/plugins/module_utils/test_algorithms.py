# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An ECDSA and an RSA key in one chain file: read, served, renewed one at a time, taken back, and planned for."""

from __future__ import annotations

import json
import os
import time

import pki
import pytest
from ansible_collections.mailops.dane.plugins.module_utils import _age, _chain, _gate, _host, _operation, _plan
from ansible_collections.mailops.dane.plugins.module_utils._errors import ChainError, DeployError, PlanError, RefusedError
from ansible_collections.mailops.dane.plugins.module_utils._ledger import Clock, Ledger
from ansible_collections.mailops.dane.plugins.module_utils._memory import Chains, Name
from rollover_values import OWNER, T0, TIMING, chain, endpoint, look, outcome, record, version

NAME = "mx1.example.test"
CA = pki.intermediate(pki.root("Root of both"), "Issuer of both")


def leaf(key, kind="ecdsa", **more):
    """A new certificate for a key."""
    return pki.leaf(more.pop("ca", CA), names=(NAME,), private=pki.key(key, kind), **more)


def part(certificate, ca=CA):
    """A key with its chain."""
    return certificate.key_pem + certificate.pem + ca.pem


LEAVES = {"E1": leaf("e1"), "E1 renewed": leaf("e1"), "E2": leaf("e2"), "R1": leaf("r1", "rsa"),
          "R1 renewed": leaf("r1", "rsa"), "R2": leaf("r2", "rsa")}
E1, E1_RENEWED, E2, R1, R1_RENEWED, R2 = map(part, LEAVES.values())


def described(text):
    """The chains of a chain file (list of JSON)."""
    return [_chain.describe(one, [NAME], time.time()) for one in _chain.load_chains(text, "a file")]


def spki(text):
    return described(text)[0]["spki"]


def records(*texts, combination="3 1 1"):
    return [_gate.Record.parse(one) for text in texts for told in described(text) for one in told["matches"]
            if one.startswith(combination)]


# ------------------------------------------------------------------------------------------------------------- one file


def test_a_file_with_one_key_is_what_it_was():
    for text in (E1, LEAVES["E1"].pem + LEAVES["E1"].key_pem + CA.pem):
        (bundle,) = _chain.load_bundles(text, "a file")
        assert bundle == _chain.load_pem(text, "a file")._replace(key=bundle.key)
        assert _chain.load_chains(text, "a file") == [bundle.certificates]


def test_a_file_with_two_keys():
    bundles = _chain.load_bundles(E1 + R1, "a file")
    assert [bundle.key.algorithm for bundle in bundles] == ["ecdsa", "rsa"]
    assert [len(bundle.certificates) for bundle in bundles] == [2, 2]
    assert "".join(_chain.file_text(bundle.key, bundle.certificates) for bundle in bundles) == E1 + R1
    assert _chain.load_chains(E1 + R1, "a file") == [bundle.certificates for bundle in bundles]


@pytest.mark.parametrize("text, words", [
    (LEAVES["E1"].pem + LEAVES["E1"].key_pem + R1, "begins with a certificate"),
    (LEAVES["E1"].key_pem + R1, "no certificate behind private key 1 of 2"),
    (E1 + LEAVES["R1"].key_pem, "no certificate behind private key 2 of 2"),
])
def test_a_file_in_a_wrong_order(text, words):
    with pytest.raises(ChainError, match=words):
        _chain.load_bundles(text, "a file")


def test_the_same_chain_twice_is_one():
    assert len(_chain.load_chains(E1 + E1, "a file")) == 1


def test_a_file_without_anything():
    assert _chain.load_chains("", "a file") == []
    with pytest.raises(ChainError, match="neither a certificate nor a private key"):
        _chain.load_bundles("", "a file")


# ------------------------------------------------------------------------------------------------------------- the gate


class Host:
    """A mail host that presents what was in its file when it was last reloaded, to clients of each key algorithm."""

    def __init__(self, directory, monkeypatch, file, candidate, versions):
        monkeypatch.setattr(_gate, "read_clock", lambda clock: Clock(clock(), "boot", clock()))
        self.directory = directory
        self.dest, self.candidate = str(directory / "chain.pem"), str(directory / "candidate.pem")
        self.ledger_path = str(directory / "ledger.json")
        for path, text in ((self.dest, file), (self.candidate, candidate)):
            self.write(path, text)
        self.presents = {1: file, 2: file}
        self.now = time.time()
        self.versions = versions
        self.reload = self.reloaded
        self.remember()

    def remember(self):
        """A ledger that knows what was before."""
        name = Name(OWNER).observe(look(self.now, *self.versions), TIMING)
        self.write(self.ledger_path, json.dumps(Ledger().with_name(name._replace(unknown_until=0.0)).to_dict()))

    @staticmethod
    def write(path, text):
        with open(path, "w", encoding="ascii") as stream:
            stream.write(text)

    def read(self):
        with open(self.dest, encoding="ascii") as stream:
            return stream.read()

    @property
    def ledger(self):
        with open(self.ledger_path, encoding="ascii") as stream:
            return Ledger.from_dict(json.load(stream))

    def reloaded(self):
        self.presents = dict.fromkeys(self.presents, self.read())
        return 0

    def run(self, command):
        return (self.reload() if command[0] == "reload" else 0), "what it says"

    def sleep(self, seconds):
        self.now += seconds

    def look(self, endpoints, handshakes=1):
        return [self.outcome(where) for where in endpoints]

    def outcome(self, where):
        number = int(where["address"].rpartition(".")[2])
        mine = [one for one in described(self.presents[number]) if one["algorithm"] == where["algorithm"]]
        return {"endpoint": where, "at": self.now, "detail": "an alert", "chain": mine[0] if mine else None,
                "outcome": "chain" if mine else "no-chain-for-algorithm"}

    def unit(self, **more):
        return _gate.Deployment(**{
            "candidate": self.candidate, "dest": self.dest, "looks": [look(self.now, *self.versions)],
            "endpoints": [endpoint(number, algorithm=algorithm) for number in (1, 2) for algorithm in ("ecdsa", "rsa")],
            "daemon": _gate.Daemon("the daemon", ("check",), ("reload",), lambda dest, run: []), "timing": TIMING,
            "ledger_path": self.ledger_path, "handshake_timeout": 3, **more})

    def deploy(self, **more):
        return _gate.deploy(self.unit(**more), True, lambda: self.now, self.sleep, self.run, self.look)


@pytest.fixture(name="made")
def fixture_made(tmp_path, monkeypatch):
    """``made(file, candidate, version, ...)``: a host."""
    return lambda file, candidate, *versions: Host(tmp_path, monkeypatch, file, candidate, versions)


def keys(ledger):
    return {one.spki for one in ledger.chains.presented()}


def test_an_algorithm_is_added(made):
    host = made(E1, E1 + R1, version(*records(E1, R1)))
    result = host.deploy()
    assert result["changed"] and result["answer"]["verdict"] == "yes"
    assert result["chains"] == described(E1 + R1) and result["chain"] == described(E1)[0]
    assert host.read() == E1 + R1 and keys(host.ledger) == {spki(E1), spki(R1)}
    assert host.ledger.retired == frozenset()
    assert not host.deploy()["changed"]


@pytest.mark.parametrize("versions", [(version(*records(E1)),), (version(*records(E1, R1)), version(*records(E1)))])
def test_an_algorithm_is_not_added_before_its_record_is_everywhere(made, versions):
    host = made(E1, E1 + R1, *versions)
    with pytest.raises(RefusedError, match=f"{spki(E1)[:16]} and {spki(R1)[:16]}.*key {spki(R1)[:16]} in 3 1 1"):
        host.deploy()
    assert host.read() == E1


def test_both_are_rolled_at_once(made):
    host = made(E1 + R1, E2 + R2, version(*records(E1, R1, E2, R2)))
    assert host.deploy(expected_spki=spki(E2))["changed"]
    assert host.read() == E2 + R2 and keys(host.ledger) == {spki(E2), spki(R2)}
    assert host.ledger.retired == {spki(E1), spki(R1)}


def test_an_operation_is_about_any_key_of_the_file(made):
    host = made(E1 + R1, E2 + R2, version(*records(E1, R1, E2, R2)))
    with pytest.raises(RefusedError, match=f"it holds key {spki(E2)[:16]} and {spki(R2)[:16]}, and the open operation"):
        host.deploy(expected_spki=spki(E1))
    assert host.deploy(expected_spki=spki(R2))["changed"]


def test_neither_is_rolled_while_one_of_them_has_no_record(made):
    host = made(E1 + R1, E2 + R2, version(*records(E1, R1, E2)))
    with pytest.raises(RefusedError, match=f"key {spki(R2)[:16]} in 3 1 1"):
        host.deploy()
    assert host.read() == E1 + R1


def test_an_algorithm_is_removed(made):
    host = made(E1 + R1, E1, version(*records(E1, R1)))
    assert host.deploy()["changed"]
    assert host.read() == E1 and keys(host.ledger) == {spki(E1)}
    gone = {seen.chain.spki: seen.gone_since for seen in host.ledger.chains.chains}
    assert gone[spki(R1)] == host.now, "and it may be met as long as processes linger"
    assert not host.deploy()["changed"]


def test_one_of_two_is_renewed(made):
    host = made(E1 + R1, E1 + R1_RENEWED, version(*records(E1, R1)))
    assert host.deploy(looks=[], offline=True)["changed"]
    assert host.read() == E1 + R1_RENEWED and host.ledger.retired == frozenset()


@pytest.mark.parametrize("late", [E1, E1_RENEWED + R1])
def test_every_endpoint_has_to_follow_with_every_algorithm(made, late):
    """A process from before the reload: without an RSA key, or with another ECDSA certificate."""
    host = made(E1, E1 + R1, version(*records(E1, R1)))

    def reload():
        host.presents = {1: host.read(), 2: late if host.read() != E1 else E1}
        return 0
    host.reload = reload
    with pytest.raises(DeployError, match="not every endpoint.*198.51.100.2") as caught:
        host.deploy()
    assert "198.51.100.1|" not in caught.value.message and caught.value.fields["restored"] is True
    assert host.read() == E1


def test_both_come_back_when_the_daemon_does_not_reload(made):
    host = made(E1 + R1, E2 + R2, version(*records(E1, R1, E2, R2)))
    answers = [1, 0]
    host.reload = lambda: answers.pop(0)
    with pytest.raises(DeployError, match="did not reload.*the old chain is back"):
        host.deploy(expected_spki=spki(E2))
    assert host.read() == E1 + R1 and host.ledger.retired == frozenset()


def test_what_comes_back_after_a_run_that_died_is_what_is_presented(made):
    host = made(E2 + R2, E2 + R2, version(*records(E1, R1, E2, R2)))
    host.presents = dict.fromkeys((1, 2), E1 + R1)
    host.write(host.dest + ".previous", E1 + R1)
    host.reload = lambda: 1
    with pytest.raises(DeployError, match="the old chain file is back"):
        host.deploy()
    assert host.read() == E1 + R1


def test_a_chain_that_is_presented_in_part_does_not_come_back(made):
    """The record of the other part may be gone."""
    host = made(E2 + R2, E2 + R2, version(*records(E1, R1, E2, R2)))
    host.presents = dict.fromkeys((1, 2), E1 + R2)
    host.write(host.dest + ".previous", E1 + R1)
    host.reload = lambda: 1
    with pytest.raises(DeployError, match="there was no older chain file"):
        host.deploy()
    assert host.read() == E2 + R2


def test_a_key_that_is_late_is_not_retired(made):
    """A look finds the new ECDSA key everywhere and the new RSA key, of the same file, nowhere yet."""
    host = made(E2 + R2, E2 + R2, version(*records(E1, R1, E2, R2)))
    opened = {"id": "1", "kind": "rekey", "target_spki": spki(E2), "started": host.now}
    _gate.note(host.ledger_path, TIMING, operation=opened, clock=lambda: host.now)
    host.presents = dict.fromkeys((1, 2), E2 + R1)
    _gate.note(host.ledger_path, TIMING, outcomes=host.look(host.unit().endpoints), chain_file=host.dest,
               clock=lambda: host.now)
    assert spki(R2) not in host.ledger.retired
    assert host.deploy(expected_spki=spki(E2))["changed"]
    assert host.ledger.retired == {spki(R1)}


def test_what_lies_in_the_file_may_be_seen_whatever_its_algorithm(made):
    host = made(E1 + R1, E1, version(*records(E1, R1)))
    host.presents = dict.fromkeys((1, 2), E1)
    ledger, _changed, _lost = _gate.note(host.ledger_path, TIMING, outcomes=host.look(host.unit().endpoints),
                                         chain_file=host.dest, clock=lambda: host.now)
    assert {seen.chain.spki for seen in ledger.chains.chains} == {spki(E1), spki(R1)}
    assert {seen.chain.id for seen in ledger.chains.chains} == {one["id"] for one in described(E1 + R1)}


@pytest.mark.parametrize("candidate, words", [
    (E1 + E2, "are both ecdsa, expected keys of different algorithms"),
    (R1 + R2, "are both rsa"),
    (E1 + LEAVES["R1"].key_pem, "no certificate behind private key 2"),
    (E1 + LEAVES["R2"].key_pem + LEAVES["R1"].pem + CA.pem, "do not belong together"),
    (E1 + R1[:-300], "truncated"),
    (E1 + part(leaf("small", "rsa1024")), "OpenSSL does not load it"),
])
def test_candidates_that_cannot_be_served(made, candidate, words):
    host = made(E1, candidate, version(*records(E1, R1)))
    before = sorted(os.listdir(host.directory))
    with pytest.raises(ChainError, match=words):
        host.deploy()
    assert host.read() == E1 and set(os.listdir(host.directory)) - set(before) <= {"ledger.json.lock"}


def test_no_key_of_the_file_may_be_retired(made):
    host = made(E1, E1 + R1, version(*records(E1, R1)))
    _gate.note(host.ledger_path, TIMING, retire=[spki(R1)], clock=lambda: host.now)
    with pytest.raises(RefusedError, match=f"Cannot deploy key {spki(R1)[:16]}: it was retired"):
        host.deploy()


def test_the_keys_of_a_file(tmp_path):
    path = tmp_path / "chain.pem"
    assert _gate.keys_of_file(str(path)) == []
    path.write_text(R1 + E1)
    assert _gate.keys_of_file(str(path)) == [
        {"spki": spki(R1), "algorithm": "rsa"}, {"spki": spki(E1), "algorithm": "ecdsa"}]
    assert _gate.spki_of_file(str(path)) == spki(R1)


# ------------------------------------------------------------------------------------------------------------- the hook


class Mail(Host):
    """A host with a lineage for each key, and the hook."""

    def __init__(self, directory, monkeypatch):
        super().__init__(directory, monkeypatch, E1 + R1, E1, (version(*records(E1, R1)),))
        self.live = {name: directory / "live" / name for name in ("mx", "mx-rsa", "mx-2")}
        self.lineage("mx", LEAVES["E1"])
        self.lineage("mx-rsa", LEAVES["R1"])
        self.unit_json = {
            "addresses": {NAME: ["198.51.100.1"]}, "chain_file": self.dest, "dns": {}, "handshake_timeout": 0,
            "lineages": [str(path) for path in self.live.values()], "names": [NAME], "service": "postfix",
            "services": [{"port": 25, "starttls": "smtp"}], "state_dir": str(directory), "timing": TIMING._asdict()}
        monkeypatch.setattr(_host, "_looks", lambda unit, hurry: ([look(time.time(), *self.versions)], ""))
        monkeypatch.setattr(_gate._probe, "look", lambda endpoints, **more: [self.outcome(one) for one in endpoints])
        monkeypatch.setattr(_gate, "_run", self.postfix)

    @property
    def now(self):
        return time.time()

    @now.setter
    def now(self, _when):
        pass

    def postfix(self, command):
        if tuple(command) == ("postfix", "reload"):
            return self.reload(), ""
        return 0, self.dest if command[-1] == "smtpd_tls_chain_files" else ""

    def lineage(self, name, certificate, ca=CA):
        self.live[name].mkdir(parents=True, exist_ok=True)
        for file, text in (("privkey", certificate.key_pem), ("cert", certificate.pem), ("chain", ca.pem)):
            (self.live[name] / f"{file}.pem").write_text(text)

    def renew(self, name=None):
        said, self.settled = _host.renew(self.unit_json, str(self.live[name]) if name else "", keep_look=name is None)
        return said


@pytest.fixture(name="mail")
def fixture_mail(tmp_path, monkeypatch):
    """A host that serves both, with a lineage for each."""
    return Mail(tmp_path, monkeypatch)


@pytest.mark.parametrize("name, renewed, expected", [
    ("mx", "E1 renewed", E1_RENEWED + R1), ("mx-rsa", "R1 renewed", E1 + R1_RENEWED)])
def test_the_hook_renews_one_and_leaves_the_other_as_it_is(mail, name, renewed, expected):
    mail.lineage(name, LEAVES[renewed])
    other = "mx" if name == "mx-rsa" else "mx-rsa"
    mail.lineage(other, leaf("by hand", "rsa" if other == "mx-rsa" else "ecdsa"))
    assert mail.renew(name) == f"postfix serves the renewed certificate of key {spki(part(LEAVES[renewed]))[:16]}"
    assert mail.read() == expected and mail.ledger.retired == frozenset()
    assert mail.settled is False, "of the other key nothing is known"
    assert not os.path.exists(str(mail.directory / "renewed.pem"))


def test_the_daily_look_renews_what_there_is(mail):
    mail.lineage("mx", LEAVES["E1 renewed"])
    assert mail.renew() == (f"postfix serves the renewed certificate of key {spki(E1)[:16]}; "
                            f"postfix already serves the certificate of key {spki(R1)[:16]}")
    mail.lineage("mx-rsa", LEAVES["R1 renewed"])
    mail.renew()
    assert mail.read() == E1_RENEWED + R1_RENEWED and mail.settled is True


def test_what_is_refused_for_one_does_not_keep_the_other(mail):
    """The ECDSA lineage has an expired certificate, or somebody's key."""
    for broken in (leaf("e1", end=60), leaf("by hand")):
        mail.lineage("mx", broken)
        mail.lineage("mx-rsa", leaf("r1", "rsa"))
        with pytest.raises((ChainError, RefusedError), match="expire|no lineage has key"):
            mail.renew()
        (_ecdsa, rsa) = described(mail.read())
        assert rsa["id"] == described(part(_lineage(mail, "mx-rsa")))[0]["id"]
        assert mail.read().startswith(E1)


def test_what_the_gate_refuses_for_one_does_not_keep_the_other(mail):
    """The ECDSA certificate came from another issuer, of whom there is no record."""
    other = pki.intermediate(pki.root("Root of both"), "Another issuer")
    mail.versions = (version(*records(E1, R1), *records(E1, combination="2 1 1")),)
    mail.remember()
    mail.lineage("mx", leaf("e1", ca=other), ca=other)
    mail.lineage("mx-rsa", LEAVES["R1 renewed"])
    with pytest.raises(RefusedError, match="in 2 1 1.*let renew.yml publish what this one needs"):
        mail.renew()
    assert mail.read() == E1 + R1_RENEWED


def _lineage(mail, name):
    class Read:
        key_pem, pem = ((mail.live[name] / f"{file}.pem").read_text() for file in ("privkey", "cert"))
    return Read


def test_both_refusals_are_told(mail):
    mail.lineage("mx", leaf("by hand"))
    mail.lineage("mx-rsa", leaf("r1", "rsa", end=60))
    with pytest.raises(RefusedError) as caught:
        mail.renew()
    assert "no lineage has key" in caught.value.message and "expire" in caught.value.message
    assert mail.read() == E1 + R1


def test_a_renewal_of_a_next_key_is_nothing_to_do(mail):
    mail.lineage("mx-2", LEAVES["E2"])
    assert "nothing to do before a rekey" in mail.renew("mx-2")
    assert mail.read() == E1 + R1


def test_a_lineage_whose_key_was_changed_by_hand_is_told_by_its_own_renewal(mail):
    mail.lineage("mx-rsa", LEAVES["R2"])
    with pytest.raises(RefusedError, match=f"no lineage has key {spki(R1)[:16]}"):
        mail.renew("mx-rsa")
    assert mail.renew("mx").startswith("postfix already serves")


def test_the_old_chains_come_back(mail):
    mail.lineage("mx-rsa", LEAVES["R1 renewed"])
    answers = [1, 0]
    mail.reload = lambda: answers.pop(0)
    with pytest.raises(DeployError, match="the old chain is back"):
        mail.renew("mx-rsa")
    assert mail.read() == E1 + R1


def test_check_asks_for_every_chain(mail):
    said = _host.check(mail.unit_json, time.time())
    assert f"holds key {spki(E1)[:16]} and {spki(R1)[:16]}, which suits every record" in said
    mail.write(mail.dest, E1 + R2)
    with pytest.raises(RefusedError, match=f"key {spki(R2)[:16]} in 3 1 1"):
        _host.check(mail.unit_json, time.time())
    _gate.note(mail.ledger_path, TIMING, retire=[spki(R2)])
    with pytest.raises(RefusedError, match=f"its key {spki(R2)[:16]} was retired"):
        _host.check(mail.unit_json, time.time())


def test_the_oldest_key_says_when_they_are_due(tmp_path):
    old, young = leaf("e1", start=-80 * pki.DAY), leaf("r1", "rsa", start=-3 * pki.DAY)
    for first, second in ((old, young), (young, old)):
        (tmp_path / "chain.pem").write_text(part(first) + part(second))
        since = _age.known_since(str(tmp_path), str(tmp_path / "chain.pem"), [])
        assert since == pki.NOW - 80 * pki.DAY
    assert len(list((tmp_path / "first").iterdir())) == 2


# ------------------------------------------------------------------------------------------------------------- the plan

EC, EC2 = chain("e1"), chain("e2")
RSA, RSA2 = chain("r1", algorithm="rsa"), chain("r2", algorithm="rsa")


def host(serves, candidates=(), records=("e1",), ours=("e1", "r1", "e2", "r2"), at=T0, **more):
    """The dict that the roles build for a host with these chains in its file."""
    chains = Chains()
    for when, presented in (*more.pop("history", ()), (at, serves)):
        found = [outcome(when, next((one for one in presented if one.algorithm == algorithm), "no-chain-for-algorithm"),
                         algorithm=algorithm) for algorithm in ("ecdsa", "rsa")]
        chains = chains.observe(found, TIMING, nothing_before=True)
    ledger = Ledger(chains=chains).with_name(
        Name(OWNER).observe(look(at, version(*map(record, records))), TIMING)).with_published(OWNER, map(record, ours))
    told = [one.to_dict() for one in candidates]
    return {"host": "mx1", "active": True, "owners": [OWNER], "combinations": ["3 1 1"], "ttl": 10,
            "timing": TIMING._asdict(), "ledger": {**ledger.to_dict(), "operation": more.pop("operation", None)},
            "candidate": told[0] if told else None, "further": told[1:], "file_spki": serves[0].spki,
            "file_keys": [{"spki": one.spki, "algorithm": one.algorithm} for one in serves], **more}


def rdata(plan):
    return {text for entry in plan["records"] for text in entry["rdata"]}


def texts(*of):
    return {str(record(one)) for one in of}


def test_the_record_of_an_added_algorithm_is_published_beside():
    assert rdata(_plan.publish([host([EC], [EC, RSA])], T0)) == texts("e1", "r1")


def test_the_records_of_both_next_keys_are_published():
    plan = _plan.publish([host([EC, RSA], [EC2, RSA2], ("e1", "r1"))], T0)
    assert rdata(plan) == texts("e1", "r1", "e2", "r2")


def test_the_records_of_both_standby_keys_stay():
    standby = {"standby": EC2.to_dict(), "further_standby": [RSA2.to_dict()]}
    assert rdata(_plan.publish([host([EC, RSA], [EC, RSA], ("e1", "r1"), **standby)], T0)) == texts("e1", "r1", "e2", "r2")
    everything = ("e1", "r1", "e2", "r2")
    assert rdata(_plan.withdraw([host([EC, RSA], [EC, RSA], everything, **standby)], T0)) == set()
    assert rdata(_plan.withdraw([host([EC], [EC], everything, standby=EC2.to_dict())], T0)) == texts("r1", "r2")


def test_after_a_compromise_no_key_that_is_served_is_burnt_yet():
    mine = host([EC, RSA], records=("e1", "r1"))
    lying_there = [EC.spki, RSA.spki, EC2.spki, RSA2.spki]
    mine["ledger"]["chains"] = Chains().to_dict()
    assert _operation.burnt(mine, "compromise", lying_there) == sorted([EC2.spki, RSA2.spki])
    decision = {"mx1": "new"}
    assert f"key {EC.spki[:16]} and {RSA.spki[:16]} is compromised" in _operation.warning([mine], decision, "compromise")[0]


def test_both_are_asked_for_as_one():
    (told,) = _plan.candidates([host([EC, RSA], [EC2, RSA2])])[OWNER]
    assert told == {"host": "mx1", "chain": EC2.to_dict(), "further": [RSA2.to_dict()],
                    "replaced": [EC.to_dict(), RSA.to_dict()]}


def test_the_record_of_a_removed_algorithm_stays_as_long_as_its_chain_is_in_the_file_or_may_be_met():
    everything = ("e1", "r1")
    assert rdata(_plan.withdraw([host([EC, RSA], [EC], everything)], T0)) == set()
    met = host([EC], [EC], everything, history=[(T0 - 9, [EC, RSA])])
    assert rdata(_plan.withdraw([met], T0)) == set() and _plan.withdraw([met], T0)["kept"][OWNER] == sorted(texts("r1"))
    assert rdata(_plan.withdraw([met], T0 + TIMING.linger)) == texts("r1")


def test_an_operation_about_one_of_the_keys_is_known():
    open_one = {"id": "1", "kind": "rekey", "target_spki": RSA2.spki, "started": T0}
    known = host([EC2, RSA2], [EC2, RSA2], ("e1", "r1", "e2", "r2"), operation=open_one)
    assert rdata(_plan.withdraw([known], T0)) == texts("e1", "r1")
    other = {**open_one, "target_spki": EC.spki}
    assert rdata(_plan.withdraw([{**known, "ledger": {**known["ledger"], "operation": other}}], T0)) == set()


def test_no_address_with_any_of_our_keys_is_another_hosts():
    silent = [outcome(T0, "silent")]
    for presents in ([EC], [RSA], [EC, RSA]):
        mine = host(presents)
        assert _plan.problems([], silent, mine["ledger"], [EC.spki, RSA.spki]), presents
    with_a_stranger = host([EC, RSA2])["ledger"]
    assert _plan.problems([], silent, with_a_stranger, [EC.spki, RSA.spki]), "one of ours is there"
    assert _plan.problems([], silent, host([EC2])["ledger"], [EC.spki, RSA.spki]) == []


def test_what_an_algorithm_replaces_is_its_own_old_key():
    """A stale record over the RSA key alone: the ECDSA key never matched it, and need not."""
    foreign = str(record("r1", "3 1 2"))
    mine = host([EC, RSA], [EC2, RSA2], ("e1", "r1"))
    full = version(record("e1"), record("r1"), record("r1", "3 1 0"))
    known = Name(OWNER).observe(look(T0, full), TIMING).to_dict()
    mine["ledger"]["names"] = {OWNER: known} if isinstance(mine["ledger"]["names"], dict) else [known]
    with pytest.raises(PlanError, match="would never match its records 3 1 0"):
        _plan.publish([mine], T0)
    only_ecdsa = {**mine, "candidate": EC2.to_dict(), "further": [RSA.to_dict()]}
    assert rdata(_plan.publish([only_ecdsa], T0)) >= texts("e2")
    assert foreign not in rdata(_plan.publish([only_ecdsa], T0))
