# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From records on the key to records on the issuer, through a change of issuers and back, and to records on the root.

The tests are one story and run in their order; the verdict on all of it comes last.
"""

from __future__ import annotations

import json
import shlex
import ssl
import time
import urllib.request

import pytest
from judge import match
from scene import AFTER, BEFORE

pytestmark = pytest.mark.usefixtures("in_order")
CHAIN = "/etc/postfix/dane-chain.pem"
TRUSTED = "/etc/ssl/lab/acme-root.pem"
TRUST = {"dane_trust_store": TRUSTED}
ISSUERS = json.dumps({"dane_records": ["2 1 1"]})
ROOT = json.dumps({"dane_records": ["2 1 1"], "dane_anchor": "root", **TRUST})


def root_of(lab):
    """The root of the first ACME server (PEM)."""
    context = ssl.create_default_context(cafile=lab["acme"]["ca_file"])
    # It is made out to the server's name.
    context.check_hostname = False
    with urllib.request.urlopen(lab["acme"]["management"] + "/roots/0", context=context, timeout=20) as answer:
        return answer.read().decode()


@pytest.fixture(name="trusted", scope="module")
def the_root(mail, lab):
    """The hosts trust the root of the first ACME server alone (its 2 1 1 record)."""
    root = root_of(lab)
    for host in mail.values():
        host.run("sh", "-c", f"printf %s {shlex.quote(root)} > {TRUSTED}")
    return f"2 1 1 {match.spki_sha256(ssl.PEM_cert_to_DER_cert(root))}"


@pytest.fixture(name="start", scope="module", autouse=True)
def under_dane(play, stage, trusted):
    """Both hosts under DANE by their keys, senders delivering, the witness watching: since when (epoch)."""
    assert trusted
    play("enable", "-e", json.dumps({"dane_hook_resolvers": [stage.about["resolver"]["ipv4"]], **TRUST}))
    stage.watch()
    start = stage.deliver()
    time.sleep(BEFORE)
    return start


def chain_of(host):
    """The certificates in the chain file of a host (list of PEM)."""
    # Not the whole file: it begins with the key.
    text = host.run("sed", "-n", "/BEGIN CERT/,/END CERT/p", CHAIN).text
    return ["-----BEGIN CERTIFICATE-----" + part.partition("-----END")[0] + "-----END CERTIFICATE-----\n"
            for part in text.split("-----BEGIN CERTIFICATE-----")[1:]]


def issuer(host):
    """The 2 1 1 record of the first issuer in the chain file of a host, made by the judge's means, and none of ours."""
    return f"2 1 1 {match.spki_sha256(ssl.PEM_cert_to_DER_cert(chain_of(host)[1]))}"


def key(host):
    """The 3 1 1 record of the key that a host serves."""
    return f"3 1 1 {host.served().spki}"


def test_nothing_to_do_changes_nothing(play, mail):
    before = {short: host.untouched() for short, host in mail.items()}
    assert set(play("renew").changed.values()) == {0}
    assert {short: host.untouched() for short, host in mail.items()} == before


def test_from_the_key_to_the_issuer(play, mail, published, story):
    """RFC 7671 section 8.2, as an ordinary run; what is served stays as it is."""
    before = {short: host.untouched() for short, host in mail.items()}
    story["keys"] = {short: key(host) for short, host in mail.items()}
    assert all(published(host.host.name) == {key(host)} for host in mail.values())
    play("renew", "-e", ISSUERS)
    story["first"] = {short: issuer(host) for short, host in mail.items()}
    for short, host in mail.items():
        assert published(host.host.name) == {story["first"][short]}
    assert {short: host.untouched() for short, host in mail.items()} == before


def test_a_renewal_of_the_same_issuer_needs_no_playbook(mail):
    for host in mail.values():
        before = host.served()
        said = host.renew()
        assert said.code == 0 and "serves the renewed certificate" in said.text
        assert host.served().serial != before.serial and host.served().issuer == before.issuer


def test_a_renewal_of_another_issuer_is_refused_by_the_gate(mail, lab):
    for host in mail.values():
        before = host.untouched()
        said = " ".join(host.certonly(lab["acme"]["other_directory"], "--reuse-key").text.split())
        assert "Hook 'deploy-hook' reported error code 1" in said
        assert "Cannot deploy the chain of key" in said and "in 2 1 1" in said
        looked = host.gate("look")
        assert looked.code == 1 and "in 2 1 1" in looked.text
        assert host.untouched() == before


def test_the_playbook_brings_the_new_issuer_in(play, mail, published, story):
    before = {short: host.served() for short, host in mail.items()}
    play("renew", "-e", ISSUERS)
    for short, host in mail.items():
        after = host.served()
        assert after.spki == before[short].spki and after.issuer != before[short].issuer
        assert issuer(host) != story["first"][short]
        assert published(host.host.name) == {story["first"][short], issuer(host)}, "the old one stays for 180 days"
        assert host.gate("look").code == 0


def test_an_issuer_that_comes_back_is_no_matter(mail, lab):
    """Authorities alternate at random: the record of the first one is still there."""
    time.sleep(AFTER)
    for host in mail.values():
        before = host.served()
        said = host.certonly(lab["acme"]["directory"], "--reuse-key")
        assert said.code == 0 and "serves the renewed certificate" in said.text
        assert host.served().issuer != before.issuer and host.served().spki == before.spki


def test_nothing_to_do_with_issuers_changes_nothing(play, mail, zone_hash):
    """The first run takes a copy of what certbot's hook has served meanwhile, and that is all."""
    before = {short: host.untouched() for short, host in mail.items()}, zone_hash()
    play("renew", "-e", ISSUERS)
    assert set(play("renew", "-e", ISSUERS).changed.values()) == {0}
    assert ({short: host.untouched() for short, host in mail.items()}, zone_hash()) == before


def test_from_the_issuer_back_to_the_key(play, mail, published, story):
    play("renew")
    for short, host in mail.items():
        assert published(host.host.name) == {key(host)} == {story["keys"][short]}
    time.sleep(AFTER)


def test_clients_without_dane_do_not_lose_what_they_accept(mail, lab):
    """The key stays, so DANE senders would take it; others would not."""
    for host in mail.values():
        before = host.untouched()
        said = " ".join(host.certonly(lab["acme"]["other_directory"], "--reuse-key").text.split())
        assert "Hook 'deploy-hook' reported error code 1" in said
        assert "clients that verify without DANE (MTA-STS, submission) would refuse the chain for" in said
        assert host.untouched() == before
        said = host.certonly(lab["acme"]["directory"], "--reuse-key")
        assert said.code == 0 and "serves the renewed certificate" in said.text
    time.sleep(AFTER)


def test_from_the_key_to_the_root(play, mail, published, trusted):
    play("renew", "-e", ROOT)
    for host in mail.values():
        there = published(host.host.name)
        assert trusted in there and not there & {issuer(host), key(host)}
        assert len(chain_of(host)) == 3, "the root is served"
    assert set(play("renew", "-e", ROOT).changed.values()) == {0}


def test_a_renewal_brings_the_root_along_without_a_playbook(mail):
    for host in mail.values():
        before = host.served()
        said = host.renew()
        assert said.code == 0 and "serves the renewed certificate" in said.text
        assert host.served().serial != before.serial and len(chain_of(host)) == 3
    time.sleep(AFTER)


def test_from_the_root_back_to_the_key(play, mail, published):
    play("renew", "-e", json.dumps(TRUST))
    for host in mail.values():
        assert published(host.host.name) == {key(host)} and len(chain_of(host)) == 2
    time.sleep(AFTER)


def test_no_delivery_failed_and_no_cache_could_have_seen_a_mismatch(stage, start):
    verdict = stage.judge(start, expect_new_keys=False)
    assert (verdict["outcome"], verdict["reasons"], verdict["void"]) == ("PASS", [], [])
    assert (verdict["failed"], verdict["exposure"]) == (0, 0.0)
    assert verdict["verified"] > 100
    # certbot by itself, the playbook with the new issuer, certbot with the first one again; certbot with what other clients
    # accept, and under the record of the root.
    assert sorted(switch["host"] for switch in verdict["switches"]) == ["mx1"] * 5 + ["mx2"] * 5
