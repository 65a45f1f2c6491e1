# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``dane-gate`` on a mail host: certbot's files are real; DNS, handshakes and Postfix are simulated."""

from __future__ import annotations

import ast
import base64
import functools
import json
import os
import re
import stat
import subprocess
import sys
import time

import pki
import pytest
from ansible_collections.mailops.dane.plugins.module_utils import _chain, _gate, _host, _notify
from ansible_collections.mailops.dane.plugins.module_utils._errors import DnsError
from ansible_collections.mailops.dane.plugins.module_utils._ledger import Clock, Ledger, Operation
from ansible_collections.mailops.dane.plugins.module_utils._memory import Name
from ansible_collections.mailops.dane.plugins.module_utils._rollover import may_deploy
from rollover_values import OWNER, TIMING, chain, look, record, seen, version

NAME = "mx1.example.test"
DAY = 86400
LOOK_MAX_AGE = 7 * DAY
ROOT = pki.root("Root of the hook")
ISSUER, OTHER_ISSUER = pki.intermediate(ROOT, "Issuer of the hook"), pki.intermediate(ROOT, "Another of the hook")


def leaf(key, issuer=ISSUER, **more):
    """A new certificate for a key."""
    return pki.leaf(issuer, **{"names": (NAME,), "private": pki.key(key), **more})


def three_one_one(key):
    """The record of a key."""
    return _gate.Record.parse("3 1 1 " + _chain.spki_digest(pki.spki(pki.key(key))))


LEAF_A = leaf("A")
FILE_A = LEAF_A.key_pem + LEAF_A.pem + ISSUER.pem
V_A, V_AB = version(three_one_one("A")), version(three_one_one("A"), three_one_one("B"))


class Host:
    """A host that serves key A from its chain file, while certbot holds a newer certificate for it."""

    def __init__(self, directory, monkeypatch):
        self.directory = directory
        self.state, self.live = directory / "state", directory / "live"
        self.chain_file, self.config = directory / "chain.pem", directory / "unit.json"
        self.lineages = [self.live / NAME, self.live / (NAME + "-2")]
        for made in (self.state, self.live):
            made.mkdir()
        self.chain_file.write_text(FILE_A)
        self.presents, self.codes, self.reloads = FILE_A, {}, 0
        self.dns_owners = [OWNER]
        self.looked, self.asked_dns, self.addresses = [], 0, {NAME: ("192.0.2.1", "2001:db8::1")}
        self.dns_settings = []
        self.dns = lambda: [look(time.time(), V_A)]
        self.lineage(0, "A")
        self.unit = {
            "addresses": {NAME: ["192.0.2.1"]}, "chain_file": str(self.chain_file), "dns": {"resolver": ["192.0.2.53"]},
            "handshake_timeout": 0, "lineages": [str(path) for path in self.lineages], "names": [NAME],
            "service": "postfix", "services": [{"port": 25, "starttls": "smtp"}], "state_dir": str(self.state),
            "timing": TIMING._asdict()}
        self.remember()
        monkeypatch.setattr(_host._dns, "require_library", lambda: None)
        monkeypatch.setattr(_host._dns, "look", self.dns_look)
        monkeypatch.setattr(_host._dns, "addresses_of", self.dns_addresses)
        monkeypatch.setattr(_gate._probe, "look", self.handshakes)
        monkeypatch.setattr(_gate, "_run", self.run_command)
        # For a unit that cannot be read.
        monkeypatch.setattr(_notify, "SENDMAIL", "/bin/true")
        monkeypatch.setattr(_notify, "STATE_DIR", str(self.state))
        monkeypatch.delenv("RENEWED_LINEAGE", raising=False)

    # ---- the world

    def lineage(self, number, key, certificate=None, chain_pem=None, key_pem=None, **more):
        """Certbot's files. Each call without a certificate issues a new one."""
        folder = self.lineages[number]
        folder.mkdir(exist_ok=True)
        made = certificate or leaf(key, **more)
        (folder / "privkey.pem").write_text(key_pem or pki.key_pem(pki.key(key)))
        (folder / "cert.pem").write_text(made.pem)
        (folder / "chain.pem").write_text(chain_pem or more.get("issuer", ISSUER).pem)
        return made

    def archived(self, *certificates, number=0):
        """Certbot's own layout of a lineage: (certificate, its issuer) in turn in an archive, and links to the last."""
        live = self.lineages[number]
        archive = self.directory / "archive" / live.name
        archive.mkdir(parents=True, exist_ok=True)
        for count, (made, issuer) in enumerate(certificates, 1):
            for part, text in (("privkey", made.key_pem), ("cert", made.pem), ("chain", issuer.pem)):
                (archive / f"{part}{count}.pem").write_text(text)
        self.point_to(len(certificates), number)
        return archive

    def point_to(self, count, number=0):
        """Let the links of a lineage lead to one version in its archive."""
        live = self.lineages[number]
        live.mkdir(exist_ok=True)
        for part in ("privkey", "cert", "chain"):
            (live / f"{part}.pem").unlink(missing_ok=True)
            (live / f"{part}.pem").symlink_to(f"../../archive/{live.name}/{part}{count}.pem")

    def remember(self, age=0, dns=V_A):
        """A ledger whose last look is so many seconds old."""
        name = Name(OWNER).observe(look(time.time() - age, dns), TIMING)._replace(unknown_until=0.0)
        (self.state / "ledger.json").write_text(json.dumps(Ledger().with_name(name).to_dict()))

    def dns_look(self, owners, settings, _leaving):
        self.asked_dns += 1
        self.dns_settings.append(settings)
        assert sorted(owners) == sorted(self.dns_owners)

        class Look:
            def __init__(self, told):
                self.to_dict = lambda: told
        return {told["owner"]: Look(told) for told in self.dns()}

    def dns_addresses(self, names, settings):
        self.dns_settings.append(settings)
        return {name: type("Addresses", (), {"addresses": self.addresses[name], "ttl": 60})()
                if name in self.addresses else DnsError("none") for name in names}

    def handshakes(self, endpoints, handshakes=1, **_more):
        self.looked.append(endpoints)
        described = _chain.describe(_chain.load_certificates(self.presents, "a file"), [NAME], time.time())
        return [{"endpoint": one, "at": time.time(), "detail": "", "chain": described if one["algorithm"] == "ecdsa" else None,
                 "outcome": "chain" if one["algorithm"] == "ecdsa" else "no-chain-for-algorithm"} for one in endpoints]

    def run_command(self, command):
        code = self.codes.get(tuple(command[:2]), 0)
        if tuple(command) == ("postfix", "reload"):
            self.reloads += 1
            if not code:
                self.presents = self.chain_file.read_text()
        return code, str(self.chain_file) if command[-1] == "smtpd_tls_chain_files" else ""

    # ---- what is asked of it

    @property
    def ledger(self):
        return Ledger.from_dict(json.loads((self.state / "ledger.json").read_text()))

    def gate(self, capsys, *arguments):
        """Run the command: (exit status, what it said). No word of it may be of a key."""
        self.config.exists() or self.config.write_text(json.dumps(self.unit))
        code = _host.main(["--config", str(self.config), *arguments])
        said = "".join(capsys.readouterr())
        for line in pki.key_pem(pki.key("A")).splitlines() + pki.key_pem(pki.key("B")).splitlines():
            assert len(line) < 20 or line not in said
        assert "Traceback" not in said
        return code, said

    def hook(self, capsys, monkeypatch, number=0):
        """What certbot does after it renewed a lineage."""
        monkeypatch.setenv("RENEWED_LINEAGE", str(self.lineages[number]))
        return self.gate(capsys, "renew")


@pytest.fixture(name="host")
def fixture_host(tmp_path, monkeypatch):
    """A host with a renewed certificate for the key that it serves."""
    return Host(tmp_path, monkeypatch)


@pytest.fixture(name="hook")
def fixture_hook(host, capsys, monkeypatch):
    """``hook()``: the hook for the first lineage, ``hook(1)`` for the second: (exit status, what it said)."""
    return lambda number=0: host.hook(capsys, monkeypatch, number)


@pytest.fixture(name="gate")
def fixture_gate(host, capsys):
    """``gate("look")``: any command: (exit status, what it said)."""
    return lambda *arguments: host.gate(capsys, *arguments)


@pytest.fixture(name="refused")
def fixture_refused(host, hook):
    """``refused("word", ...)``: the hook fails, says all this, and what is served is what was served."""

    def run(*words, number=0):
        code, said = hook(number)
        assert code == 1
        assert [word for word in words if word not in said] == []
        assert host.chain_file.read_text() == FILE_A == host.presents and not host.reloads
        assert not os.path.exists(str(host.chain_file) + ".previous")
        return said

    return run


# ------------------------------------------------------------------------------------------------------------- renewal


def test_what_certbot_renewed_is_served(host, hook):
    renewed = host.lineage(0, "A")
    code, said = hook()
    assert code == 0
    assert said == f"postfix serves the renewed certificate of key {three_one_one('A').data[:16]}\n"
    assert host.presents == host.chain_file.read_text() == renewed.key_pem + renewed.pem + ISSUER.pem
    assert host.ledger.retired == frozenset()


def test_a_second_call_changes_nothing(host, hook):
    hook()
    before = host.chain_file.stat().st_mtime_ns
    code, said = hook()
    assert (code, host.reloads, host.chain_file.stat().st_mtime_ns) == (0, 1, before)
    assert "already serves the certificate of key" in said


def test_the_daily_look_serves_what_a_hook_left(host, gate, monkeypatch):
    monkeypatch.setenv("RENEWED_LINEAGE", "/etc/letsencrypt/live/of.somebody.else")
    before = host.ledger.name(OWNER).looked_at
    code, said = gate("look")
    assert code == 0 and "serves the renewed certificate" in said
    assert host.ledger.name(OWNER).looked_at > before


def test_the_lineage_is_chosen_by_its_key(host, hook):
    """After a rekey it is the second one that is current, whatever it is called."""
    host.lineage(0, "B")
    renewed = host.lineage(1, "A")
    assert hook(0)[0] == 0 and not host.reloads
    assert hook(1)[0] == 0 and renewed.pem in host.presents


def test_a_renewal_of_the_next_key_is_nothing_to_do(host, hook):
    host.lineage(1, "B")
    host.dns = lambda: [look(time.time(), V_AB)]
    code, said = hook(1)
    assert code == 0 and "another key than the one that is served: nothing to do before a rekey" in said
    assert host.presents == FILE_A and not host.reloads and not (host.state / "renewed.pem").exists()


def test_a_lineage_of_something_else_is_nothing_to_do(host, gate, monkeypatch):
    monkeypatch.setenv("RENEWED_LINEAGE", str(host.live / "www.example.test"))
    host.chain_file.write_text("not even a chain")
    code, said = gate("renew")
    assert code == 0 and "www.example.test is not a lineage of this mail host's chain: nothing to do" in said
    assert not host.asked_dns and not host.looked


def test_a_lineage_is_known_behind_symbolic_links(host, gate, monkeypatch):
    os.symlink(host.live, host.directory / "elsewhere")
    monkeypatch.setenv("RENEWED_LINEAGE", str(host.directory / "elsewhere" / NAME))
    assert "serves the renewed certificate" in gate("renew")[1]


def test_a_broken_other_lineage_is_not_in_the_way(host, hook):
    """The next key's files were cut short; the current one is renewed all the same."""
    host.lineage(1, "B", key_pem="-----BEGIN PRIVATE KEY-----\nMIG")
    assert hook()[0] == 0 and host.reloads == 1


def test_every_address_that_the_dns_has_is_looked_at(host, hook):
    hook()
    assert {one["address"] for one in host.looked[0]} == {"192.0.2.1", "2001:db8::1"}


def test_without_addresses_in_the_dns_those_of_the_playbook_are_looked_at(host, hook):
    host.addresses = {}
    assert hook()[0] == 0
    assert {one["address"] for one in host.looked[0]} == {"192.0.2.1"}


def test_addresses_of_the_operator_stand_before_those_of_the_dns(host, hook):
    host.unit.update(addresses={NAME: ["192.0.2.7"]}, endpoints={NAME.upper() + ".": ["192.0.2.7"]})
    assert hook()[0] == 0
    assert {one["address"] for one in host.looked[0]} == {"192.0.2.7"}


def test_no_address_at_all_is_refused(host, refused):
    host.addresses, host.unit["addresses"] = {}, {}
    refused(NAME, "no address")


def test_another_issuer_under_a_record_of_the_key(host, hook):
    host.lineage(0, "A", issuer=OTHER_ISSUER)
    assert hook()[0] == 0 and OTHER_ISSUER.pem in host.presents


def test_another_issuer_under_a_record_of_the_issuer(host, refused):
    anchor = _gate.Record.parse(next(
        text for text in _chain.describe(_chain.load_certificates(FILE_A, "f"), [NAME], time.time())["matches"]
        if text.startswith("2 1 1")))
    both = version(three_one_one("A"), anchor)
    host.remember(dns=both)
    host.dns = lambda: [look(time.time(), both)]
    host.lineage(0, "A", issuer=OTHER_ISSUER)
    refused("Cannot deploy the chain", "in 2 1 1", "The old chain stays in service; let renew.yml publish")
    other = _chain.load_certificates(leaf("A", OTHER_ISSUER).pem + OTHER_ISSUER.pem, "f")
    described = _chain.describe(other, [NAME], time.time())
    assert {str(one) for one in host.ledger.issuers.records()} > set(described["issuer_records"]), "for renew.yml"


def test_postfix_that_does_not_reload_gets_the_old_chain_back(host, hook):
    host.codes["postfix", "reload"] = 1
    code, said = hook()
    assert code == 1 and "did not reload" in said
    assert host.chain_file.read_text() == FILE_A == host.presents


def test_postfix_with_settings_of_somebody_else(host, refused):
    host.codes["postconf", "-P"] = 1
    refused("postfix does not serve from it alone")


def test_a_look_that_took_too_long_is_no_evidence_of_the_present(host, refused):
    """What lies between the look and the deed may be the wait for somebody else's lock."""
    host.remember(DAY)
    host.lineage(0, "A", issuer=OTHER_ISSUER)
    host.dns = lambda: [look(time.time() - 90, V_A)]
    assert "renew.yml" not in refused("the last look at its servers is not of the last 60 s")


# ------------------------------------------------------------------------------------- what was refused, and may be by now


def issuer_record(*issuers):
    """The records of some issuers."""
    return [_gate.Record.parse("2 1 1 " + _chain.spki_digest(pki.spki(issuer.key))) for issuer in issuers]


def renewed(issuer=ISSUER, hours=1, key="A"):
    """A certificate that begins so many hours after the one that is served, and its issuer."""
    return leaf(key, issuer, start=-DAY + hours * 3600), issuer


@pytest.fixture(name="pinned")
def fixture_pinned(host):
    """A host with records on its key and its issuer."""
    def publish(*issuers):
        both = version(three_one_one("A"), *issuer_record(*issuers))
        host.remember(dns=both)
        host.dns = lambda: [look(time.time(), both)]
    publish(ISSUER)
    host.publish = publish
    return host


def file_of(made, issuer):
    return made.key_pem + made.pem + issuer.pem


def test_where_the_newest_is_refused_the_one_before_it_is_served(pinned, hook, gate):
    """certbot calls no hook twice: the first was refused while an address did not answer, the second is of a new issuer."""
    fit, unfit = renewed(), renewed(OTHER_ISSUER, 2)
    archive = pinned.archived((LEAF_A, ISSUER), fit, unfit)
    code, said = hook()
    assert code == 1 and pinned.presents == pinned.chain_file.read_text() == file_of(*fit)
    assert said.startswith("dane-gate: Cannot deploy the chain of key ") and "in 2 1 1" in said
    assert (f". Until then postfix serves the renewed certificate of key {three_one_one('A').data[:16]}, the one in "
            f"{archive}/cert2.pem; let renew.yml publish what this one needs, and then serve it") in said
    assert set(issuer_record(OTHER_ISSUER)) < pinned.ledger.issuers.records(), "for renew.yml"
    assert not (pinned.state / "renewed.pem").exists()
    # The newest is still pending.
    code, said = gate("look", "--json")
    told = json.loads(said)
    assert (code, pinned.reloads, told["reason"]) == (1, 1, "unmatched") and "The old chain stays in service" in told["text"]
    pinned.publish(ISSUER, OTHER_ISSUER)
    assert gate("look")[0] == 0 and pinned.presents == file_of(*unfit)


def test_of_several_the_newest_that_may_be(pinned, gate):
    several = [renewed(hours=1), renewed(hours=2), renewed(OTHER_ISSUER, 3), renewed(OTHER_ISSUER, 4)]
    pinned.archived((LEAF_A, ISSUER), *several)
    assert gate("look")[0] == 1 and pinned.presents == file_of(*several[1])


def test_as_numbers_are_counted(pinned, gate):
    """Ten comes after nine."""
    several = [renewed(hours=hours) for hours in range(1, 11)]
    pinned.archived(*several, renewed(OTHER_ISSUER, 20))
    assert gate("look")[0] == 1 and pinned.presents == file_of(*several[-1])


@pytest.mark.parametrize("other", [
    renewed(hours=-1), renewed(hours=0), (renewed()[0], OTHER_ISSUER), renewed(OTHER_ISSUER),
], ids=["older", "as old", "without its issuer", "refused as well"])
def test_no_other_is_served_instead(pinned, refused, other):
    pinned.archived(other, renewed(OTHER_ISSUER, 2))
    refused("Cannot deploy the chain of key", "The old chain stays in service; let renew.yml publish")


def test_another_key_is_not_served_instead_though_its_record_is_there(pinned, refused):
    both = version(three_one_one("A"), three_one_one("B"), *issuer_record(ISSUER))
    pinned.remember(dns=both)
    pinned.dns = lambda: [look(time.time(), both)]
    pinned.archived(renewed(key="B"), renewed(OTHER_ISSUER, 2))
    refused("in 2 1 1", "The old chain stays in service")


def test_one_that_is_newer_than_the_links_say_is_not_served(pinned, refused):
    pinned.archived(renewed(OTHER_ISSUER, 1), renewed(hours=2))
    pinned.point_to(1)
    refused("in 2 1 1")


@pytest.mark.parametrize("part", ["privkey", "cert", "chain"])
@pytest.mark.parametrize("damage", [
    lambda path: path.write_text(path.read_text()[:100]), lambda path: path.unlink(), lambda path: path.write_text("")])
def test_damage_in_one_leaves_the_one_before_it(pinned, gate, part, damage):
    fit = renewed()
    archive = pinned.archived((LEAF_A, ISSUER), fit, renewed(hours=2), renewed(OTHER_ISSUER, 3))
    damage(archive / f"{part}3.pem")
    assert gate("look")[0] == 1 and pinned.presents == file_of(*fit)


@pytest.mark.parametrize("part", ["cert", "chain"])
def test_where_the_newest_is_damaged_too(host, hook, part):
    fit = renewed()
    archive = host.archived((LEAF_A, ISSUER), fit, renewed(hours=2))
    (archive / f"{part}3.pem").write_text("-----BEGIN CERTIFICATE-----\nMII")
    code, said = hook()
    assert code == 1 and host.presents == file_of(*fit)
    assert f"{part}" in said and "truncated" in said and ". Until that is mended postfix serves the renewed" in said


def test_a_warning_of_the_one_that_is_served_instead_is_told(pinned, gate):
    pinned.unit.update(pkix="warn", trust_store="/nowhere")
    fit = renewed()
    pinned.archived((LEAF_A, ISSUER), fit, renewed(OTHER_ISSUER, 2))
    code, said = gate("look")
    assert code == 1 and pinned.presents == file_of(*fit) and "but clients that verify without DANE" in said


def test_a_postfix_that_does_not_reload_is_not_asked_twice(pinned, gate):
    pinned.archived((LEAF_A, ISSUER), renewed(), renewed(hours=2), renewed(OTHER_ISSUER, 3))
    pinned.codes["postfix", "reload"] = 1
    code, said = gate("look")
    assert code == 1 and "did not reload" in said and pinned.presents == FILE_A
    # And once more for the old chain.
    assert pinned.reloads == 2


def requested(host, *certificates, name=NAME):
    """The layout of dane-csr: a directory for each certificate, and a link to the last."""
    versions = host.directory / "versions" / name
    for count, (made, issuer) in enumerate(certificates, 1):
        folder = versions / f"2026010{count}T000000Z"
        folder.mkdir(parents=True)
        for part, text in (("privkey", made.key_pem), ("cert", made.pem), ("chain", issuer.pem), ("request", "a request")):
            (folder / f"{part}.pem").write_text(text)
    (versions / ".tmp").mkdir()
    for path in host.lineages[0].iterdir():
        path.unlink()
    host.lineages[0].rmdir()
    host.lineages[0].symlink_to(folder)
    return versions


def test_certificates_for_a_request_of_ours_are_gone_through_likewise(pinned, hook):
    fit = renewed()
    # What is newer than the link says has not been put in service.
    versions = requested(pinned, (LEAF_A, ISSUER), fit, renewed(OTHER_ISSUER, 2), renewed(hours=3))
    pinned.lineages[0].unlink()
    pinned.lineages[0].symlink_to(versions / "20260103T000000Z")
    code, said = hook()
    assert code == 1 and pinned.presents == file_of(*fit)
    assert f", the one in {versions}/20260102T000000Z/cert.pem; let renew.yml" in said


def test_what_lies_beside_a_directory_of_somebody_else_is_not_gone_through(pinned, refused):
    requested(pinned, renewed(), renewed(OTHER_ISSUER, 2), name="of-somebody-else")
    refused("in 2 1 1")


# -------------------------------------------------------------------------------------------------- another key by hand


def test_a_key_that_was_changed_by_hand_is_refused(host, refused):
    host.lineage(0, "B")
    a, b = three_one_one("A").data[:16], three_one_one("B").data[:16]
    said = refused(f"Cannot renew: no lineage has key {a}", f"{host.lineages[0]} has key {b}", "rekey.yml")
    assert not (host.state / "renewed.pem").exists()
    assert said.startswith("dane-gate: ")


def test_even_when_its_record_is_published(host, refused):
    """It is the playbook that knows how long."""
    host.remember(dns=V_AB)
    host.dns = lambda: [look(time.time(), V_AB)]
    host.lineage(0, "B")
    refused("Cannot renew: no lineage has key")


def test_the_daily_look_says_so_too_and_keeps_the_look(host, gate):
    host.lineage(0, "B")
    before = host.ledger.name(OWNER).looked_at
    code, said = gate("look")
    assert code == 1 and "no lineage has key" in said and host.presents == FILE_A
    assert host.ledger.name(OWNER).looked_at > before


def test_no_lineage_at_all(host, refused):
    for path in host.lineages[0].iterdir():
        path.unlink()
    refused("no lineage has key", "there is none")


def test_no_chain_file(host, gate):
    host.chain_file.unlink()
    code, said = gate("renew")
    assert code == 1 and f"there is no {host.chain_file}; run enable.yml" in said and not host.chain_file.exists()


def test_a_key_that_was_retired_does_not_come_back(host, refused):
    """A chain file out of an old backup, and certbot's files with it."""
    name = host.ledger.name(OWNER)
    ledger = Ledger(retired=frozenset([three_one_one("A").data])).with_name(name)
    (host.state / "ledger.json").write_text(json.dumps(ledger.to_dict()))
    refused("retired")


# --------------------------------------------------------------------------------------------- without sight of the DNS


def unreachable():
    raise DnsError("Cannot ask the resolver: 192.0.2.53: timeout")


def unseen(security="secure", outcome="silent"):
    """A DNS that tells this host nothing that counts."""
    told = look(time.time(), outcome, security=security)
    return lambda: [{**told, "findings": ["what the finding says"]}]


BLIND = {
    "no resolver": (unreachable, "Cannot ask the resolver"),
    "insecure": (unseen("insecure", V_A), "is insecure as seen from here: what the finding says"),
    "bogus": (unseen("bogus", V_A), "is bogus as seen from here"),
    "unreachable": (unseen("unreachable"), "is unreachable as seen from here"),
    "silent servers": (unseen(), f"no authoritative server of {OWNER} answers this host"),
    "lame servers": (unseen(outcome="does-not-serve"), f"no authoritative server of {OWNER} answers this host"),
}


@pytest.fixture(name="blind", params=BLIND)
def fixture_blind(request, host):
    """All the ways of not seeing the DNS; why, in the words of the gate."""
    host.dns, why = BLIND[request.param]
    return why


@pytest.mark.parametrize("age", [0, DAY, LOOK_MAX_AGE - 60])
def test_a_renewal_goes_by_the_ledger(host, hook, blind, age):
    host.remember(age)
    before = host.ledger.name(OWNER)
    code, said = hook()
    assert code == 0 and host.reloads == 1
    assert "serves the renewed certificate" in said and "by the ledger alone: " in said and blind in said
    assert host.ledger.name(OWNER) == before, "what was not seen must not make the memory young"


def test_a_renewal_by_an_old_ledger_is_refused(host, refused, blind):
    host.remember(LOOK_MAX_AGE + 60)
    refused("the last look at its servers is not of the last", blind)


def serving_what_ends(host, left=5):
    """The certificate that is served has so many days left."""
    old = leaf("A", start=(left - 90) * DAY, end=left * DAY)
    host.chain_file.write_text(old.key_pem + old.pem + ISSUER.pem)
    host.presents = host.chain_file.read_text()


def test_but_not_in_the_last_week_of_what_is_served_and_somebody_hears_of_it(host, hook, gate, blind):
    serving_what_ends(host)
    host.remember(30 * DAY)
    before = host.ledger.name(OWNER)
    renewed = host.lineage(0, "A")
    code, said = hook()
    assert code == 1 and host.reloads == 1
    assert renewed.pem in host.presents and host.presents == host.chain_file.read_text()
    assert said.startswith("dane-gate: postfix serves the renewed certificate of key ") and blind in said
    assert f", but the ledger is stale: the last look at {OWNER} in which the DNS was seen is 30 days old" in said
    assert host.ledger.name(OWNER) == before
    code, said = hook()
    assert code == 0 and "already serves the certificate" in said
    code, said = gate("look")
    assert code == 1 and "Cannot look: " in said and host.reloads == 1


def test_another_issuer_is_not_judged_by_a_stale_ledger_even_then(host, hook, blind):
    serving_what_ends(host)
    host.remember(30 * DAY)
    host.lineage(0, "A", issuer=OTHER_ISSUER)
    code, said = hook()
    assert code == 1 and "the last look at its servers is not of the last 60 s" in said and not host.reloads


def test_in_the_last_week_both_warnings_are_told(host, gate, blind):
    serving_what_ends(host)
    host.remember(30 * DAY)
    host.unit.update(pkix="warn", trust_store="/nowhere")
    code, said = gate("renew", "--json")
    told = json.loads(said)
    assert (code, told["ok"], told["reason"], host.reloads) == (1, False, "stale", 1)
    assert "but the ledger is stale" in told["text"] and "; and clients that verify without DANE" in told["text"]


def test_a_renewal_by_a_lost_ledger_is_refused(host, refused, blind):
    (host.state / "ledger.json").unlink()
    refused(OWNER, blind)


def test_another_issuer_is_not_judged_by_the_ledger(host, refused, blind):
    host.remember(DAY)
    host.lineage(0, "A", issuer=OTHER_ISSUER)
    refused("the last look at its servers is not of the last 60 s", blind)


def test_another_key_is_not_judged_by_the_ledger(host, refused, blind):
    host.remember(0, V_AB)
    host.lineage(0, "B")
    refused("no lineage has key")


def test_a_look_that_saw_nothing_is_a_failed_one(host, gate, blind):
    """Else nobody hears that the ledger grows old, until a renewal is refused. What can be served is served."""
    host.remember(DAY)
    code, said = gate("look")
    assert code == 1 and "Cannot look: " in said and blind in said and "serves the renewed certificate" in said
    assert host.reloads == 1


def test_with_sight_of_the_dns_a_lost_ledger_is_no_obstacle(host, hook):
    (host.state / "ledger.json").write_text("{")
    assert hook()[0] == 0 and host.reloads == 1


def test_a_missing_library_is_no_sight(host, hook, monkeypatch):
    def missing():
        raise DnsError("dnspython is missing")
    monkeypatch.setattr(_host._dns, "require_library", missing)
    code, said = hook()
    assert code == 0 and "by the ledger alone: dnspython is missing" in said


def test_the_hook_is_in_a_hurry_and_the_daily_look_is_not(host, hook, gate):
    """certbot waits for the one, and the other is what keeps the ledger fresh."""
    host.unit["dns"]["query_timeout"] = 5
    before = time.monotonic()
    assert hook()[0] == 0
    hurried, again = host.dns_settings
    assert hurried is again and hurried.timeout == 2
    assert before + 10 <= hurried.until <= time.monotonic() + 10
    assert gate("look")[0] == 0
    patient = host.dns_settings[-1]
    assert (patient.timeout, patient.until) == (5, None)


def test_one_dead_server_does_not_make_the_hook_blind(host):
    """It is asked as often as any, and before it one of the parent zone is waited for once: that is within the time."""
    assert _host.HOOK_QUERY_SECONDS * (_host._dns.Settings().tries + 1) < _host.HOOK_DNS_SECONDS


NOW = 1_700_000_000.0
OLD, RENEWED = chain("A"), chain("A", certificate=2)


@pytest.mark.parametrize(("new", "replaced", "age", "yes"), [
    (RENEWED, [OLD], 0, True),
    (RENEWED, [OLD], LOOK_MAX_AGE, True),
    (RENEWED, [OLD], LOOK_MAX_AGE + 1, False),
    (RENEWED, [], 61, False),
    (RENEWED, [OLD, chain("B")], 61, False),
    (chain("A", certificate=2, issuer="another"), [OLD], 60, True),
    (chain("A", certificate=2, issuer="another"), [OLD], 61, False),
    (chain("B"), [OLD], 60, True),
    (chain("B"), [OLD], 61, False),
])
def test_only_a_renewal_may_be_judged_by_an_older_look(new, replaced, age, yes):
    known = seen(look(NOW - age, version(record("A"), record("B"))))
    answer = may_deploy((new,), known, replaced, NOW, TIMING)
    assert answer.yes is yes
    assert yes or [reason["code"] for reason in answer.reasons] == ["view-stale"]


def test_not_even_a_renewal_goes_against_a_record_of_the_certificate():
    known = seen(look(NOW - DAY, version(record("A"), record(("A", 1), "3 0 1"))))
    assert not may_deploy((RENEWED,), known, [OLD], NOW, TIMING).yes


# ------------------------------------------------------------------------------------------------------- certbot's files


@pytest.mark.parametrize(("certificate", "word"), [
    (lambda: leaf("B"), "do not belong together"),
    (lambda: leaf("A", names=("mx2.example.test",)), "the name 'mx1.example.test' is missing"),
    (lambda: leaf("A", start=-2 * DAY, end=-DAY), "expired"),
    (lambda: leaf("A", end=_host.VALID_FOR - 60), "expires"),
    (lambda: leaf("A", start=DAY), "not yet valid"),
    (lambda: leaf("A", issuer=pki.root("Root that is not there")), "issuer"),
], ids=["another key", "missing name", "expired", "expires at once", "not yet valid", "another issuer"])
def test_a_certificate_that_is_of_no_use(host, refused, certificate, word):
    host.lineage(0, "A", certificate())
    refused(word)


@pytest.mark.parametrize(("left", "served"), [(250, True), (150, False)])
def test_a_certificate_of_minutes_has_to_have_a_third_of_them_left(host, gate, left, served):
    # The clock of these tests is that of the machine.
    begun = time.time() - pki.NOW - (600 - left)
    host.lineage(0, "A", leaf("A", start=begun, end=begun + 600))
    code, said = gate("renew")
    assert (code, host.reloads) == ((0, 1) if served else (1, 0)), said
    assert served or "expires" in said


@pytest.mark.parametrize("part", ["privkey", "cert", "chain"])
@pytest.mark.parametrize("damage", [
    lambda path: path.write_text(path.read_text()[:100]), lambda path: path.write_text(""), lambda path: path.unlink(),
    lambda path: path.write_bytes(b"\xff\xfe" * 50), lambda path: (path.unlink(), path.mkdir()),
], ids=["cut short", "empty", "missing", "binary", "directory"])
def test_a_damaged_file(host, refused, part, damage):
    damage(host.lineages[0] / f"{part}.pem")
    said = refused("Cannot")
    assert str(host.lineages[0]) in said or "there is none" in said or ISSUER.x509.subject.rfc4514_string() in said


@pytest.mark.parametrize("content", ["", "-----BEGIN CERTIFICATE-----\nMII"])
def test_a_damaged_chain_file(host, gate, content):
    host.chain_file.write_text(content)
    code, said = gate("renew")
    assert code == 1 and str(host.chain_file) in said and host.chain_file.read_text() == content


def test_a_chain_file_that_cannot_be_read(host, gate):
    host.chain_file.unlink()
    host.chain_file.mkdir()
    code, said = gate("renew")
    assert code == 1 and said.startswith("dane-gate: Cannot read ") and str(host.chain_file) in said


def test_a_truncated_key_is_named(host, refused):
    path = host.lineages[0] / "privkey.pem"
    path.write_text(path.read_text()[:60])
    refused("no lineage has key", str(path), "truncated")


def test_the_candidate_is_private_from_its_first_moment(host, hook, monkeypatch):
    modes = {}
    monkeypatch.setattr(os, "replace", lambda source, dest, replace=os.replace: (
        modes.setdefault(os.path.basename(dest), stat.S_IMODE(os.stat(source).st_mode)), replace(source, dest)))
    opened = []
    monkeypatch.setattr(_gate.tempfile, "mkstemp", lambda make=_gate.tempfile.mkstemp, **more: (
        opened.append(make(**more)), opened[-1])[1])
    fchmod = os.fchmod
    monkeypatch.setattr(os, "fchmod", lambda descriptor, mode: (
        opened.append(stat.S_IMODE(os.fstat(descriptor).st_mode)), fchmod(descriptor, mode)))
    before = os.umask(0)
    try:
        assert hook()[0] == 0
    finally:
        os.umask(before)
    assert modes["renewed.pem"] == modes["chain.pem"] == 0o600
    assert {one for one in opened if isinstance(one, int)} == {0o600}
    for path in host.directory.rglob("*"):
        if path.is_file() and "PRIVATE KEY" in path.read_text() and host.live not in path.parents:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


@pytest.mark.parametrize("fine", [True, False], ids=["served", "refused"])
def test_no_copy_of_a_key_stays_behind(host, hook, fine):
    """But for the chain file and the one that comes back when Postfix does not start."""
    host.remember(DAY)
    host.lineage(0, "A", issuer=ISSUER if fine else OTHER_ISSUER)
    host.dns = (lambda: [look(time.time(), V_A)]) if fine else unreachable
    assert hook()[0] == (0 if fine else 1)
    copies = {path.name for path in host.directory.rglob("*") if path.is_file() and "PRIVATE" in path.read_text()}
    assert copies == ({"privkey.pem", "chain.pem", "chain.pem.previous"} if fine else {"privkey.pem", "chain.pem"})


def test_a_full_disk_changes_nothing(host, refused, monkeypatch):
    def full(*_arguments):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(_gate, "_replace_file", full)
    refused("renewed.pem", "No space left on device")


# --------------------------------------------------------------------------------------------------------- configuration


def test_no_configuration(host, capsys):
    code = _host.main(["--config", str(host.directory / "none.json"), "renew"])
    said = capsys.readouterr().err
    assert code == 1 and "none.json" in said and "the certbot role of mailops.dane writes it" in said


@pytest.mark.parametrize("command", ["renew", "look", "status"])
@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", '"names"', "{}", "\x00"])
def test_a_configuration_that_is_none(host, gate, command, text):
    host.config.write_text(text)
    code, said = gate(command)
    assert code == 1 and str(host.config) in said and "run enable.yml again" in said


@pytest.mark.parametrize(("part", "value"), [
    *((part, None) for part in _host.WANTED), ("lineages", 7), ("names", NAME), ("timing", []), ("service", "sendmail"),
    ("timing", {"factor": 0}), ("timing", {"floor": -1}), ("timing", {"banana": 1}), ("timing", {"floor": "x"}),
    ("services", [{}]), ("services", ["x"]), ("names", ["no host"]), ("waive", ["x"]), ("waive", 7),
    ("waive", [{"what": "server"}]), ("handshake_timeout", "60"),
])
def test_a_configuration_that_was_edited(host, gate, part, value):
    if value is None:
        del host.unit[part]
    else:
        host.unit[part] = value
    code, said = gate("renew")
    assert code == 1 and "Cannot use" in said and str(host.config) in said and "run enable.yml again" in said
    assert host.presents == FILE_A


# ---------------------------------------------------------------------------------------------------------------- status


def test_status_for_people(host, hook, gate):
    host.remember(60, V_AB)
    host.dns = lambda: [look(time.time(), V_A)]
    hook()
    ledger = host.ledger
    operation = Operation("20260101", "rekey", three_one_one("B").data, 1.0)
    (host.state / "ledger.json").write_text(json.dumps(ledger._replace(operation=operation).to_dict()))
    before = {path: path.read_bytes() for path in host.directory.rglob("*") if path.is_file()}
    code, said = gate("status")
    a, b = three_one_one("A").data, three_one_one("B").data
    assert code == 0
    assert f"ledger {host.state}/ledger.json\n" in said
    assert f"open: rekey 20260101, key {b[:16]}" in said
    assert re.search(rf"^{re.escape(OWNER)} secure, looked at \d s ago$", said, re.MULTILINE)
    assert f"  3 1 1 {a}"[:42] + " OMNIPRESENT" in said
    assert f"  3 1 1 {b}"[:42] + " UNRETENTIVE" in said
    assert f"key {a[:16]} (ecdsa) presented at 4 endpoints" in said
    assert f"key {a[:16]} (ecdsa) may still be met" in said
    assert len(re.findall(r"^issuer 2 1 1 [0-9a-f]{34} last in a chain of this host 0 days ago$", said, re.MULTILINE)) == 1
    assert {path: path.read_bytes() for path in before} == before


def test_status_for_programs(host, gate):
    code, said = gate("status", "--json")
    assert code == 0
    told = json.loads(said)
    assert told.pop("lost") is None
    assert Ledger.from_dict(told)._replace(clock=None) == host.ledger


def test_status_says_how_old_the_key_is_and_when_it_is_due(host, gate):
    first, born = leaf("A", start=-400 * DAY, end=-310 * DAY), int(pki.NOW) - 400 * DAY
    (host.live / "archive").mkdir()
    (host.live / "archive" / "cert1.pem").write_text(first.pem)
    (host.live / "archive" / "cert2.pem").write_text(LEAF_A.pem)
    (host.lineages[0] / "cert.pem").unlink()
    (host.lineages[0] / "cert.pem").symlink_to("../archive/cert2.pem")
    told = json.loads(gate("status", "--json")[1])
    assert (told["key_since"], told["key_due"]) == (born, None)
    known = f"the key in {host.chain_file} is known since {time.strftime('%Y-%m-%d', time.gmtime(born))}"
    assert gate("status")[1].endswith(known + "\n")
    host.config.unlink()
    host.unit["key_lifetime"] = 365 * DAY
    told = json.loads(gate("status", "--json")[1])
    assert (told["key_since"], told["key_due"]) == (born, born + 365 * DAY)
    due = time.strftime("%Y-%m-%d", time.gmtime(born + 365 * DAY))
    assert gate("status")[1].endswith(f"{known} and due for a rekey from {due}\n")
    assert not (host.state / "first").exists()


def test_status_without_a_chain_file_knows_no_age(host, gate):
    host.chain_file.unlink()
    told = json.loads(gate("status", "--json")[1])
    assert (told["key_since"], told["key_due"]) == (None, None)
    assert "known since" not in gate("status")[1]


@pytest.mark.parametrize(("text", "word"), [
    (None, "there is none yet"), ("{", "Expecting"), ('{"format": 9}', "expected format")])
def test_status_of_a_lost_ledger(host, gate, text, word):
    path = host.state / "ledger.json"
    path.unlink()
    if text:
        path.write_text(text)
    code, said = gate("status")
    assert code == 0 and said.startswith(f"ledger {path}: ") and word in said
    code, said = gate("status", "--json")
    assert code == 0 and word in json.loads(said)["lost"]
    assert path.exists() == bool(text) and not (host.state / "ledger.json.lock").exists()


def test_status_of_a_host_that_was_never_looked_at(host, gate):
    ledger = Ledger().with_name(Name(OWNER))._replace(operation=Operation("1", "rekey", "", 1.0))
    (host.state / "ledger.json").write_text(json.dumps(ledger.to_dict()))
    said = gate("status")[1]
    assert f"{OWNER} unknown, never looked at" in said and "key not made yet" in said


@pytest.mark.parametrize("arguments", [[], ["banana"], ["renew", "x"]])
def test_a_command_that_is_none(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        _host.main(arguments)
    assert caught.value.code == 2 and "usage: dane-gate" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------- said to programs


@pytest.fixture(name="told")
def fixture_told(host, gate, capsys):
    """``told("look")``: what a command says to programs: (exit status, ok, text, reason). Nothing else is said."""

    def run(command):
        host.config.exists() or host.config.write_text(json.dumps(host.unit))
        code = _host.main(["--config", str(host.config), command, "--json"])
        said = capsys.readouterr()
        assert said.err == "" and said.out.count("\n") == 1
        found = json.loads(said.out)
        assert set(found) == {"ok", "text", "reason"}
        return code, found["ok"], found["text"], found["reason"]
    return run


def test_what_went_well_is_said_to_programs(told):
    key = three_one_one("A").data[:16]
    assert told("renew") == (0, True, f"postfix serves the renewed certificate of key {key}", None)
    assert told("look") == (0, True, f"postfix already serves the certificate of key {key}", None)
    assert told("check")[:2] == (0, True)


@pytest.mark.parametrize("command", ["renew", "look", "check", "status"])
def test_what_went_wrong_is_said_to_programs(host, told, command):
    host.config.write_text("{}")
    code, fine, text, reason = told(command)
    assert (code, fine, reason) == (1, False, "configuration") and text.startswith("Cannot use ")


def test_why_a_chain_may_not_be_presented_is_said_to_programs(host, told):
    host.remember(0, version(three_one_one("B")))
    assert told("check")[::3] == (1, "unmatched")
    ledger = host.ledger._replace(retired=frozenset({three_one_one("A").data}))
    (host.state / "ledger.json").write_text(json.dumps(ledger.to_dict()))
    assert told("check")[::3] == (1, "key")
    host.chain_file.write_text("nonsense")
    assert told("check")[::3] == (1, "certificate")


def test_why_a_renewal_is_refused_is_said_to_programs(host, told):
    host.lineage(0, "B")
    code, fine, text, reason = told("renew")
    assert (code, fine, reason) == (1, False, "key") and text.startswith("Cannot renew: no lineage has key")
    host.dns = unreachable
    assert told("look")[3] == "key"
    host.lineage(0, "A")
    assert told("look")[3] == "dns"


def test_what_the_system_says_no_to_is_said_to_programs(host, told, monkeypatch):
    def full(*_arguments):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(_host, "check", full)
    assert told("check") == (1, False, "Cannot check: [Errno 28] No space left on device", "other")


def test_a_fault_of_ours_is_said_to_programs_and_not_hidden(host, capsys, monkeypatch):
    def fault(*_arguments, **_more):
        raise ValueError("something that may be a key")
    monkeypatch.setattr(_host, "renew", fault)
    host.config.write_text(json.dumps(host.unit))
    with pytest.raises(ValueError, match="something"):
        _host.main(["--config", str(host.config), "renew", "--json"])
    said = capsys.readouterr()
    assert json.loads(said.out) == {"ok": False, "text": "Cannot renew: ValueError", "reason": "other"}


# ------------------------------------------------------------------------------------------------------------ as copies


def installed_by_the_role(root):
    """The module names that the certbot role copies to a host."""
    tasks = (root / "roles" / "certbot" / "tasks" / "hook.yml").read_text(encoding="utf-8")
    found = re.search(r"\n    _dane_modules:\s+\[([^\]]+)\]", tasks)
    return set(found.group(1).replace(",", " ").split())


def closure(root, name):
    """Every module of the library that a module imports, and those that they import."""
    found, waiting = set(), {name}
    while waiting:
        module = waiting.pop()
        found.add(module)
        tree = ast.parse((root / "plugins" / "module_utils" / f"{module}.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.level:
                waiting |= {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                assert not any(one.startswith("ansible") for one in names), f"{module} imports {names}"
        waiting -= found
    return found


def test_the_role_installs_what_the_command_imports_and_no_more(collection_root):
    assert installed_by_the_role(collection_root) == closure(collection_root, "_host") | {"__init__"}


@pytest.fixture(name="copies")
def fixture_copies(collection_root, tmp_path):
    """The copies that the role makes, in a directory of their own, with the command that knows that directory."""
    package = tmp_path / "lib" / "dane_gate"
    package.mkdir(parents=True)
    for module in installed_by_the_role(collection_root):
        source = collection_root / "plugins" / "module_utils" / f"{module}.py"
        (package / f"{module}.py").write_bytes(source.read_bytes())
    script = (collection_root / "roles" / "certbot" / "files" / "dane-gate").read_text(encoding="utf-8")
    assert script.startswith("#!/usr/bin/python3 -I\n") and script.count('"/usr/local/lib/mailops-dane"') == 1
    # There is no ansible on a mail host; here there may be.
    blocked = 'import sys\nfor name in ("ansible", "ansible_collections"):\n    sys.modules[name] = None\n'
    script = script.replace("/usr/local/lib/mailops-dane", str(package.parent))
    (tmp_path / "dane-gate").write_text(blocked + script, encoding="utf-8")

    def run(*arguments, **environment):
        return subprocess.run(
            [sys.executable, "-I", str(tmp_path / "dane-gate"), *arguments], check=False, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=str(tmp_path), timeout=60)

    run.package = package
    return run


def test_the_copies_run_without_ansible(host, copies):
    host.config.write_text(json.dumps(host.unit))
    done = copies("--config", str(host.config), "status")
    assert (done.returncode, done.stderr) == (0, "") and f"ledger {host.state}/ledger.json" in done.stdout


def test_the_copies_judge_without_ansible(host, copies):
    """The whole way through DNS (nobody answers there), files and ledger, up to the handshakes."""
    host.unit["dns"] = {"resolver": ["127.0.0.1@9"], "query_timeout": 0.1}
    host.lineage(0, "B")
    host.config.write_text(json.dumps(host.unit))
    done = copies("--config", str(host.config), "renew", RENEWED_LINEAGE=str(host.lineages[0]))
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("dane-gate: Cannot renew: no lineage has key") and "Traceback" not in done.stderr
    assert host.chain_file.read_text() == FILE_A
    assert base64.b64encode(b"PRIVATE").decode() not in done.stderr


def test_nothing_of_the_callers_environment_is_imported(host, copies, tmp_path):
    (tmp_path / "json.py").write_text("raise SystemExit('imported from the working directory')")
    host.config.write_text(json.dumps(host.unit))
    assert copies("--config", str(host.config), "status", PYTHONPATH=str(tmp_path)).returncode == 0


def test_postfix_is_found_whatever_the_callers_path(copies):
    (copies.package / "_host.py").write_text("import os\ndef main():\n    print(os.environ['PATH'])\n")
    for environment in ({}, {"PATH": "/usr/bin:/bin"}):
        assert {"/usr/sbin", "/sbin", "/usr/bin", "/bin"} <= set(copies(**environment).stdout.strip().split(":"))


@pytest.mark.parametrize(("status", "channel", "level"), [(0, "stdout", "mail.info"), (1, "stderr", "mail.err")])
def test_certbot_and_the_journal_hear_what_the_gate_says(collection_root, tmp_path, status, channel, level):
    """A quiet certbot, as its timer calls it, keeps what a hook says to itself."""
    def program(name, text):
        (tmp_path / name).write_text("#!/bin/sh\n" + text)
        (tmp_path / name).chmod(0o755)

    stream = "" if channel == "stdout" else " >&2"
    program("dane-gate", f'echo "$1 $RENEWED_LINEAGE -n \\$HOME"{stream}\nexit {status}\n')
    program("logger", f'printf "%s|" "$@" > {tmp_path}/journal\nexit 1\n')
    hook = (collection_root / "roles" / "certbot" / "files" / "certbot-deploy-hook").read_text(encoding="utf-8")
    program("hook", hook.replace("/usr/local/sbin/dane-gate", str(tmp_path / "dane-gate")))
    done = subprocess.run(
        [str(tmp_path / "hook")], check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "RENEWED_LINEAGE": "/live/x y"}, timeout=60)
    assert done.returncode == status
    assert {"stdout": done.stdout, "stderr": done.stderr} == {
        "stdout": "", "stderr": "", channel: "renew /live/x y -n $HOME\n"}
    assert (tmp_path / "journal").read_text() == f"-t|dane-gate|-p|{level}|--|renew /live/x y -n $HOME|"


# ------------------------------------------------------------------------------------------------------------ check, why


def test_the_chain_file_that_is_served_may_be_presented(host, gate):
    code, said = gate("check")
    assert code == 0 and f"key {three_one_one('A').data[:16]}" in said


def test_by_an_old_ledger_too(host, gate):
    host.remember(30 * DAY)
    assert gate("check")[0] == 0


def test_a_key_that_came_back_with_a_backup(host, gate):
    ledger = host.ledger._replace(retired=frozenset({three_one_one("A").data}))
    (host.state / "ledger.json").write_text(json.dumps(ledger.to_dict()))
    code, said = gate("check")
    assert code == 1 and "was retired on this host" in said and "rekey.yml" in said


def test_a_key_without_a_record(host, gate):
    host.remember(0, version(three_one_one("B")))
    code, said = gate("check")
    assert code == 1 and OWNER in said and "is still served by 192.0.2.1" in said


@pytest.mark.parametrize("text", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nMII"])
def test_a_chain_file_that_is_none(host, gate, text):
    host.chain_file.write_text(text)
    code, said = gate("check")
    assert code == 1 and str(host.chain_file) in said


def test_check_and_why_change_nothing(host, gate):
    before = {path: path.read_bytes() for path in host.directory.rglob("*") if path.is_file()}
    gate("check")
    gate("why", three_one_one("A").data)
    assert {path: path.read_bytes() for path in before} == before and not host.reloads


def test_why_tells_of_records_and_keys(host, hook, gate):
    host.remember(60, V_AB)
    host.dns = lambda: [look(time.time(), V_A)]
    hook()
    a, b = three_one_one("A"), three_one_one("B")
    operation = Operation("20260101", "rekey", b.data, 1.0)
    ledger = host.ledger.with_published(OWNER, [a])._replace(operation=operation, retired=frozenset({"cd" * 32}))
    (host.state / "ledger.json").write_text(json.dumps(ledger.to_dict()))
    code, said = gate("why", f"3 1 1 {a.data[:20]}")
    assert code == 0 and f"{OWNER} {str(a)[:40]} is OMNIPRESENT, ours" in said
    assert re.search(r"a version with TTL 10 that has it is served by 192\.0\.2\.1$", said, re.MULTILINE)
    assert re.search(r"a version with TTL 10 that has it may be in caches for (20|21) s more", said)
    assert f"key {a.data[:16]} (ecdsa) is presented at 4 endpoints" in said
    said = gate("why", b.data)[1]
    assert "is UNRETENTIVE, not ours" in said and "that does not have it is served by" in said
    assert "is what rekey 20260101 is about" in said
    assert "is retired" in gate("why", "cdcdcdcd")[1]
    assert json.loads(gate("why", "--json", a.data)[1])[0].startswith(OWNER)


@pytest.mark.parametrize(("what", "word"), [
    ("abc", "8 or more hexadecimal digits"), ("no record", "8 or more hexadecimal"), ("", "8 or more hexadecimal"),
    ("0123456789", "knows no record and no key")])
def test_why_of_what_is_not_there(gate, what, word):
    code, said = gate("why", what)
    assert code == 1 and word in said


# ---------------------------------------------------------------------------------------- clients that know nothing of DANE


def trusting(host, root):
    roots = host.directory / "roots.pem"
    roots.write_text(root.pem)
    host.unit.update(pkix="auto", trust_store=str(roots))


OTHER_ROOT = pki.root("Another root of the hook")


def test_a_renewal_that_other_clients_would_refuse(host, refused):
    trusting(host, ROOT)
    host.lineage(0, "A", issuer=OTHER_ROOT)
    refused("Cannot use certificate 'CN=mx1.example.test'", "MTA-STS", "dane_pkix")


def test_a_renewal_that_is_no_worse_for_them(host, hook):
    trusting(host, OTHER_ROOT)
    assert hook()[0] == 0 and host.reloads == 1


def test_shortly_before_the_end_it_is_served_and_somebody_hears_of_it(host, gate, hook):
    trusting(host, ROOT)
    old = leaf("A", start=-85 * DAY, end=5 * DAY)
    host.chain_file.write_text(old.key_pem + old.pem + ISSUER.pem)
    host.presents = host.chain_file.read_text()
    renewed = host.lineage(0, "A", issuer=OTHER_ROOT)
    code, said = hook()
    assert code == 1 and "postfix serves the renewed certificate" in said and "but clients that verify without DANE" in said
    assert host.presents == host.chain_file.read_text() and renewed.pem in host.presents
    assert gate("look")[0] == 0


def serving_the_root(host):
    host.chain_file.write_text(FILE_A + ROOT.pem)
    host.presents = host.chain_file.read_text()


@pytest.mark.parametrize("store", [ROOT, OTHER_ROOT], ids=["known", "only-served"])
def test_where_the_root_is_served_a_renewal_brings_it_too(host, hook, store):
    trusting(host, store)
    serving_the_root(host)
    renewed = host.lineage(0, "A")
    assert hook()[0] == 0
    assert host.chain_file.read_text() == renewed.key_pem + renewed.pem + ISSUER.pem + ROOT.pem
    (told,) = [one for one in host.ledger.issuers.records() if one.combination == (2, 1, 1)]
    assert told.data == _chain.spki_digest(pki.spki(ROOT.key))


def test_a_renewal_below_another_root_brings_that(host, hook):
    trusting(host, OTHER_ROOT)
    host.unit["pkix"] = "off"
    serving_the_root(host)
    other = pki.intermediate(OTHER_ROOT, "Issuer below the other")
    renewed = host.lineage(0, "A", issuer=other)
    assert hook()[0] == 0
    assert host.chain_file.read_text() == renewed.key_pem + renewed.pem + other.pem + OTHER_ROOT.pem


def test_a_root_that_is_not_known_on_the_host(host, capsys, monkeypatch):
    host.unit["trust_store"] = "/nowhere"
    serving_the_root(host)
    host.lineage(0, "A", issuer=pki.intermediate(OTHER_ROOT, "Issuer below the other"))
    code, said = host.hook(capsys, monkeypatch)
    assert code == 1 and "the issuer 'CN=Another root of the hook' of 'CN=Issuer below the other' is missing" in said
    assert host.chain_file.read_text() == FILE_A + ROOT.pem == host.presents


@pytest.mark.parametrize("wrong", [{"pkix": "always"}, {"trust_store": 1}])
def test_a_unit_with_another_word_for_it(host, gate, wrong):
    host.unit.update(wrong)
    code, said = gate("renew")
    assert code == 1 and "pkix is none of auto, warn, require, off" in said and "run enable.yml again" in said


# ---------------------------------------------------------------------------------------------- two at once, and killed ones


def test_the_daily_look_waits_for_the_hook(host, gate, monkeypatch):
    """The candidate of the one is not that of the other."""
    monkeypatch.setattr(_host, "OTHER_SECONDS", 0)
    with _gate.alone(str(host.state / "renew.lock"), 0):
        code, said = gate("look")
    assert code == 1 and "another process has been at work on this host for 0 s" in said and "renew.lock" in said
    assert host.presents == FILE_A and not host.reloads
    assert gate("look")[0] == 0 and host.reloads == 1


def test_what_is_no_business_of_the_gate_waits_for_nobody(host, gate, monkeypatch):
    monkeypatch.setattr(_host, "OTHER_SECONDS", 0)
    monkeypatch.setenv("RENEWED_LINEAGE", "/etc/letsencrypt/live/of.somebody.else")
    with _gate.alone(str(host.state / "renew.lock"), 0):
        assert gate("renew")[0] == 0


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("at", ["renewed.pem", "chain.pem.previous", "chain.pem", "reload"])
def test_a_hook_that_is_killed_is_completed_by_the_daily_look(host, hook, gate, monkeypatch, at):
    """Anywhere: the old chain or the new one is served, and what is left is cleared away."""
    replace, run = os.replace, _gate._run

    def replacing(source, dest):
        if os.path.basename(dest) == at:
            os.utime(source, (1, 1))
            monkeypatch.setattr(os, "unlink", lambda path: None)
            raise Killed
        replace(source, dest)

    def running(command):
        if command[-1] == at:
            monkeypatch.setattr(os, "unlink", lambda path: None)
            raise Killed
        return run(command)
    with monkeypatch.context() as dying:
        dying.setattr(os, "replace", replacing)
        dying.setattr(_gate, "_run", running)
        unlink = os.unlink
        with pytest.raises(Killed):
            hook()
        monkeypatch.setattr(os, "unlink", unlink)
    assert host.presents == FILE_A
    copies = {path.name for path in host.directory.rglob("*") if path.is_file() and "PRIVATE" in path.read_text()}
    assert copies - {"privkey.pem", "chain.pem", "chain.pem.previous"}, "something is left of it"
    assert gate("look")[0] == 0
    assert host.presents == host.chain_file.read_text() != FILE_A
    copies = {path.name for path in host.directory.rglob("*") if path.is_file() and "PRIVATE" in path.read_text()}
    assert copies <= {"privkey.pem", "chain.pem", "chain.pem.previous"}


def test_files_of_others_are_not_swept_away(host, hook):
    names = {".abcdefgh.new": False, ".abcdefgh.old": True, "abcdefgh.new": True, ".abcdefghi.new": True,
             ".abcdefgh.newer": True}
    for name in names:
        (host.directory / name).write_text("old")
        os.utime(host.directory / name, (1, 1))
    (host.directory / ".01234567.new").write_text("young")
    (host.directory / ".abcdefg_.new").mkdir()
    os.utime(host.directory / ".abcdefg_.new", (1, 1))
    hook()
    assert {name: (host.directory / name).exists() for name in names} == names
    assert (host.directory / ".01234567.new").exists() and (host.directory / ".abcdefg_.new").exists()


# ------------------------------------------------------------------------------------------------------ Postfix not running


def test_postfix_that_does_not_run(host, refused, gate, monkeypatch):
    """Nobody answers, and there is nothing to reload: when it starts, it starts with the old chain, and the look goes on."""
    with monkeypatch.context() as down:
        down.setattr(_gate._probe, "look", lambda endpoints, **_more: [
            {"endpoint": one, "at": time.time(), "detail": "connection refused", "chain": None, "outcome": "silent"}
            for one in endpoints])
        host.codes["postfix", "status"] = host.codes["postfix", "reload"] = 1
        refused("postfix is not running; nothing was changed. Start it")
    host.codes.clear()
    assert gate("look")[0] == 0 and host.presents != FILE_A


# ---------------------------------------------------------------------------------------------- names added to the certificate


def test_a_certificate_with_more_names_for_the_same_key_is_served(host, hook):
    renewed = host.lineage(0, "A", names=(NAME, "mail.example.test"))
    assert hook()[0] == 0 and renewed.pem in host.presents


def test_a_host_with_another_name_waits_for_the_certificate_to_have_it(host, refused):
    """``dane_names`` has grown first: the old chain stays, and the message says which name."""
    host.unit["names"] = [NAME, "mail.example.test"]
    host.addresses["mail.example.test"] = ("192.0.2.1",)
    host.dns = lambda: [look(time.time(), V_A), look(time.time(), V_A, owner="_25._tcp.mail.example.test.")]
    host.dns_owners = [OWNER, "_25._tcp.mail.example.test."]
    refused("mail.example.test", "is missing", "request it for all base domains")


# ----------------------------------------------------------------------------------------------- Ansible away for a year


class Calendar:
    """A clock that is set by hand, for all that the gate asks what time it is; the computer runs all the while."""

    def __init__(self, monkeypatch):
        self.now = float(pki.NOW)
        monkeypatch.setattr(_host.time, "time", lambda: self.now)
        monkeypatch.setattr(_gate, "read_clock", lambda clock: Clock(clock(), "boot", clock()))
        for function in ("deploy", "note", "open_ledger"):
            # Their own default is the real clock.
            monkeypatch.setattr(_gate, function, functools.partial(getattr(_gate, function), clock=lambda: self.now))


def test_ansible_away_for_a_year(host, gate, hook, monkeypatch):
    """Daily looks, a renewal every sixty days; meanwhile somebody makes another key by hand, and takes it back ten days
    later."""
    calendar = Calendar(monkeypatch)
    issued, refusals, sizes = [(LEAF_A, ISSUER)], [], []
    host.archived(*issued)
    for day in range(1, 366):
        calendar.now = pki.NOW + day * DAY
        if day % 60 == 0:
            issued.append((leaf("A", start=(day - 1) * DAY, end=(day + 89) * DAY), ISSUER))
            host.archived(*issued)
            assert hook()[0] == 0
        elif day == 200:
            host.archived(*issued, (leaf("B", start=(day - 1) * DAY, end=(day + 89) * DAY), ISSUER))
            assert hook()[0] == 1
        elif day == 210:
            host.archived(*issued)
        # The look knows of no lineage in particular.
        monkeypatch.delenv("RENEWED_LINEAGE", raising=False)
        code, said = gate("look")
        assert code == 0 or "no lineage has key" in said
        refusals += [day] * code
        assert host.presents == host.chain_file.read_text() == file_of(*issued[-1])
        assert _chain.load_certificates(host.presents, "what is served")[0].not_after > calendar.now + 29 * DAY
        sizes.append((host.state / "ledger.json").stat().st_size)
    assert host.reloads == len(issued) - 1 == 6
    assert refusals == list(range(200, 210))
    assert host.ledger.retired == frozenset() and host.ledger.operation is None
    assert max(sizes[60:]) <= max(sizes[:60]), "what nobody can see any more is forgotten"
