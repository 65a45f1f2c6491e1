# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A standby key from enable to the day on which it is given up: rekeys that need not wait, a lost lineage, a compromise.

The tests are one story and run in their order; the verdict on all of it comes last. What was published and presented, and
in which order, is read from the witness's log.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import breaking
import machine
import pytest
from judge import match
from judge.sightings import read, runs
from scene import AFTER, BEFORE

pytestmark = pytest.mark.usefixtures("in_order")
WAITING = "  waiting "


@pytest.fixture(name="options", scope="module")
def the_options(lab):
    """What a user writes, beside what the lab says for all: the default of dane_standby."""
    return "-e", json.dumps({"dane_standby": True, "dane_hook_resolvers": [lab["resolver"]["ipv4"]]})


@pytest.fixture(name="start", scope="module", autouse=True)
def under_dane(play, stage, options, mail_hosts):
    """Check mode on virgin hosts, then under DANE with the witness watching, then senders: since when they deliver."""
    said = play("enable", "--check", *options).output
    for name in mail_hosts.values():
        assert said.count(f"_25._tcp.{name}. 10 IN TLSA 3 1 1 <key to be made on {name}>") == 2
        assert f"/live/{name}-2/privkey.pem <key to be made on {name}>" in said
    stage.watch()
    play("enable", *options)
    return stage.deliver()


def keys(published, host):
    """The keys at the owner name of a host (set of digests)."""
    return {text.removeprefix("3 1 1 ") for text in published(host.host.name)}


def standby(published, host):
    """The key that is published and not served."""
    ready = keys(published, host) - {host.served().spki}
    assert len(ready) == 1, f"{host.short}: {ready}"
    return ready.pop()


def versions(stage, host, since):
    """The RRsets of the owner name in the order in which the primary gave them since an epoch (list of sets of digests)."""
    return [{text.removeprefix("3 1 1 ") for text in version} for version in stage.versions(host.host.name, since)]


def presented(stage, host, since):
    """The keys that any address of a host presented since an epoch, by the witness (set of digests)."""
    seen = read(stage.witness_file)
    return {match.spki_sha256(seen.certificates[run.value[0]]) for endpoint in seen.endpoints(host.short)
            for run in runs(seen.chains[endpoint]) if run.value and run.end > since}


def everywhere(stage, published, host):
    """What the daily look does, until the ledger knows the standby's record in every RRset that a sender may hold."""
    record = f"3 1 1 {standby(published, host)}"[:40]

    def known():
        assert host.gate("look").code == 0
        return f"{record} OMNIPRESENT" in host.gate("status").text
    stage.wait_for(known, 120, f"{record} in every version at {host.short}")


def test_both_records_are_there_from_the_start(stage, mail, published):
    for host in mail.values():
        both = {host.served().spki, standby(published, host)}
        first = next(version for version in versions(stage, host, 0) if version)
        assert first == both
        assert host.lineages() == {host.host.name: host.served().spki, f"{host.host.name}-2": standby(published, host)}


def test_a_renewal_of_the_standby_serves_nothing(mail, published):
    for host in mail.values():
        before, there = host.untouched(), host.lineages()
        said = host.renew("--cert-name", f"{host.host.name}-2")
        assert said.code == 0 and "has another key than the one that is served: nothing to do before a rekey" in said.text
        assert host.untouched() == before and host.lineages() == there
        said = host.renew("--cert-name", host.host.name)
        assert said.code == 0 and "serves the renewed certificate" in said.text
        assert host.served().spki == before[1].spki and host.lineages() == there
        assert len(keys(published, host)) == 2


def test_a_rekey_does_not_wait(play, options, stage, mail, published):
    time.sleep(BEFORE)
    for host in mail.values():
        everywhere(stage, published, host)
    before = {short: (host.served().spki, standby(published, host)) for short, host in mail.items()}
    since = time.time()
    played = play("rekey", *options)
    assert WAITING not in played.output
    for short, host in mail.items():
        old, ready = before[short]
        new = standby(published, host)
        assert host.served().spki == ready and new not in before[short]
        assert versions(stage, host, since) == [{old, ready}, {ready}, {ready, new}]
        assert host.ledger()["operation"] is None and old in host.ledger()["retired"]
        # Its age counts from today, although its certificate is older.
        assert since - 60 <= host.ledger()["key_since"] <= time.time() + 60
        assert host.gate("look").code == 0
    time.sleep(AFTER)


def test_a_lost_lineage_while_the_acme_server_is_down(play, options, stage, mail, published):
    """On mx1 certbot has lost the key that is served, and nobody issues a certificate; the other host takes no part.

    The rekey has all it needs, and ends with an error at its very end: there is no next standby. `renew` makes it later.
    """
    one, two = mail["mx1"], mail["mx2"]
    everywhere(stage, published, one)
    old, ready, other = one.served().spki, standby(published, one), two.untouched()
    name = next(name for name, key in one.lineages().items() if key == old)
    assert one.certbot("delete", "--cert-name", name).code == 0
    refused = one.renew()
    assert refused.code == 0 and one.served().spki == old
    since, down = time.time(), breaking.acme_down()
    down.strike()
    try:
        played = play("rekey", *options, limit=one.host.name, check=False)
    finally:
        down.lift()
    said = " ".join(played.output.split())
    assert played.returncode == 2 and WAITING not in played.output
    assert f"{one.host.name}: certbot did not obtain a certificate" in said and "acme.example.test:14000" in said
    assert one.served().spki == ready and keys(published, one) == {ready}
    assert one.ledger()["operation"] is None and old in one.ledger()["retired"]
    play("renew", *options, limit=one.host.name)
    assert one.served().spki == ready and two.untouched() == other
    assert versions(stage, one, since) == [{old, ready}, {ready}, {ready, standby(published, one)}]
    time.sleep(AFTER)


def killed_after_its_operation_is_open(stage, mail, options):
    """A rekey for a compromise that dies as soon as every host knows of it, before there is a key; what it said."""
    log = stage.out / "killed.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            stage.command("rekey", *options, "-e", "dane_reason=compromise"), env=stage.environment(),
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)

    def open_everywhere():
        assert process.poll() is None, log.read_text(encoding="utf-8")[-3000:]
        return all('"kind": "compromise"' in host.run("cat", "/var/lib/mailops-dane/ledger.json").text
                   for host in mail.values())
    try:
        stage.wait_for(open_everywhere, 240, "an open operation on every host")
    finally:
        started = machine.family(process.pid)
        os.killpg(process.pid, signal.SIGKILL)
        # Ansible's workers have sessions of their own.
        machine.kill(started)
        process.wait(60)
    text = log.read_text(encoding="utf-8", errors="replace")
    print(text)
    return " ".join(text.split())


def test_a_compromise_that_is_interrupted(play, options, stage, mail, published):
    """The key that is served and the standby are burnt. The run dies, and a plain one, which is not told why, goes on."""
    for host in mail.values():
        everywhere(stage, published, host)
    before = {short: (host.served().spki, standby(published, host)) for short, host in mail.items()}
    since = time.time()
    said = killed_after_its_operation_is_open(stage, mail, options)
    for short, host in mail.items():
        old, ready = before[short]
        assert f"{host.host.name}: key {old[:16]} is compromised, and so is every key that lies ready" in said
        assert "after the last server has it at the earliest" in said and "can be replayed" in said
        assert ready in host.ledger()["retired"] and old not in host.ledger()["retired"]
        assert host.served().spki == old
    played = play("rekey", *options)
    assert WAITING in played.output
    for short, host in mail.items():
        old, ready = before[short]
        fresh, new = host.served().spki, standby(published, host)
        assert len({old, ready, fresh, new}) == 4
        assert presented(stage, host, since) == {old, fresh}
        seen = versions(stage, host, since)
        assert seen == [{old, ready}, {old, ready, fresh}, {fresh}, {fresh, new}]
        assert {old, ready} <= set(host.ledger()["retired"]) and host.ledger()["operation"] is None
        assert set(host.lineages().values()) == {fresh, new}
        assert f"{host.host.name}: serves key {fresh[:16]}, and the records of the compromised keys are" in " ".join(
            played.output.split())
        assert "replaying the records with their signatures until 20" in " ".join(played.output.split())
    time.sleep(AFTER)


def test_once_more_changes_nothing(play, options, mail, zone_hash):
    for host in mail.values():
        assert host.gate("look").code == 0
    play("renew", *options)
    before = zone_hash(), [host.lineages() for host in mail.values()]
    for playbook in ("enable", "renew"):
        assert set(play(playbook, *options).changed.values()) == {0}
    assert (zone_hash(), [host.lineages() for host in mail.values()]) == before


def test_the_option_is_turned_off(play, lab, stage, mail, published):
    off = "-e", json.dumps({"dane_hook_resolvers": [lab["resolver"]["ipv4"]]})
    before = {short: (host.untouched(), host.lineages()) for short, host in mail.items()}
    since = time.time()
    played = play("renew", *off)
    for short, host in mail.items():
        assert (host.untouched(), host.lineages()) == before[short]
        assert keys(published, host) == {host.served().spki}
        assert len(versions(stage, host, since)) == 2
    assert "dane_standby is off, so the record of the standby key is withdrawn" in " ".join(played.output.split())
    assert set(play("renew", *off).changed.values()) == {0}
    time.sleep(AFTER)


def test_no_delivery_failed_and_no_cache_could_have_seen_a_mismatch(stage, start):
    verdict = stage.judge(start)
    assert (verdict["outcome"], verdict["reasons"], verdict["void"]) == ("PASS", [], [])
    assert (verdict["failed"], verdict["exposure"]) == (0, 0.0)
    assert verdict["verified"] > 100
    # Renewed, rekeyed, lost (mx1), compromised.
    assert sorted(switch["host"] for switch in verdict["switches"]) == ["mx1"] * 4 + ["mx2"] * 3
