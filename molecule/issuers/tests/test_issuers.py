# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From records on the key to records on the issuer, through changes of issuers and back; from one digest to another; and to
records on the root.

The tests are one story and run in their order; the verdict on all of it comes last.
"""

from __future__ import annotations

import json
import shlex
import ssl
import time
import urllib.parse
import urllib.request

import hosts
import pytest
import ready
import scene
from judge import match
from scene import AFTER, BEFORE

pytestmark = pytest.mark.usefixtures("in_order")
CHAIN = "/etc/postfix/dane-chain.pem"
# One host has a directory, as openssl rehash leaves it, the other a file.
DIRECTORY, FILE = "/etc/ssl/lab/trusted", "/etc/ssl/lab/trusted.pem"
TRUST = {"dane_trust_store": "{{ '%s' if inventory_hostname.startswith('mx1.') else '%s' }}" % (DIRECTORY, FILE)}
ROOT = json.dumps({"dane_records": ["2 1 1"], "dane_anchor": "root", **TRUST})
TRUSTING = """
mkdir -p {directory}
printf %s {first} > {directory}/first.pem
printf %s {second} > {directory}/second.pem
cat {directory}/first.pem {directory}/second.pem > {file}
openssl rehash {directory}
"""


def authority(lab, management, what):
    """What an ACME server tells who manages it, such as ``roots/0`` (PEM). ``management``: where, by its name in lab.json."""
    context = ssl.create_default_context(cafile=lab["acme"]["ca_file"])
    # It is made out to the server's name.
    context.check_hostname = False
    with urllib.request.urlopen(f"{lab['acme'][management]}/{what}", context=context, timeout=20) as answer:
        return answer.read().decode().strip() + "\n"


def about(pem):
    """The 2 1 1 and the 2 0 1 record of an issuer, made by the judge's means, and none of ours (set of text)."""
    der = ssl.PEM_cert_to_DER_cert(pem)
    return {f"2 {selector} 1 {match.association(der, selector, 1)}" for selector in (0, 1)}


@pytest.fixture(name="trusted", scope="module")
def the_roots(mail, lab):
    """The hosts trust the roots that both ACME servers have now. The first one's 2 1 1 record."""
    first, second = (authority(lab, management, "roots/0") for management in ("management", "other_management"))
    script = TRUSTING.format(directory=DIRECTORY, file=FILE, first=shlex.quote(first), second=shlex.quote(second))
    for host in mail.values():
        assert host.run("sh", "-ec", script).code == 0
    return f"2 1 1 {match.spki_sha256(ssl.PEM_cert_to_DER_cert(first))}"


@pytest.fixture(name="announced", scope="module")
def an_issuer_that_is_announced(stage, lab):
    """The intermediate that the other ACME server has now, in a file on the controller (path, set of records)."""
    path = stage.out / "announced.pem"
    path.write_text(authority(lab, "other_management", "intermediates/0"), encoding="utf-8")
    return path, about(path.read_text(encoding="utf-8"))


@pytest.fixture(name="on_issuers", scope="module")
def records_on_issuers(announced):
    """Two records for each issuer, and no other; one issuer is published ahead (-e and its value)."""
    return "-e", json.dumps({"dane_records": ["2 1 1", "2 0 1"], "dane_issuer_pool": [str(announced[0])]})


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
    """The records of the first issuer in the chain file of a host (set of text)."""
    return about(chain_of(host)[1])


def key(host, mtype=1):
    """The 3 1 1 record, or that of another matching type, of the key that a host serves."""
    assert host.served().spki == match.spki_sha256(ssl.PEM_cert_to_DER_cert(chain_of(host)[0]))
    return f"3 1 {mtype} {match.association(ssl.PEM_cert_to_DER_cert(chain_of(host)[0]), 1, mtype)}"


def test_nothing_to_do_changes_nothing(play, mail):
    before = {short: host.untouched() for short, host in mail.items()}
    assert set(play("renew").changed.values()) == {0}
    assert {short: host.untouched() for short, host in mail.items()} == before


def test_from_the_key_to_the_issuer(play, mail, published, story, on_issuers, announced):
    """RFC 7671 section 8.2, as an ordinary run; what is served stays as it is. What is announced is published with it."""
    before = {short: host.untouched() for short, host in mail.items()}
    story["keys"] = {short: key(host) for short, host in mail.items()}
    assert all(published(host.host.name) == {key(host)} for host in mail.values())
    play("renew", *on_issuers)
    story["first"] = {short: issuer(host) for short, host in mail.items()}
    for short, host in mail.items():
        assert not story["first"][short] & announced[1]
        assert published(host.host.name) == story["first"][short] | announced[1]
    assert {short: host.untouched() for short, host in mail.items()} == before


def test_a_renewal_of_the_same_issuer_needs_no_playbook(mail):
    for host in mail.values():
        before = host.served()
        said = host.renew()
        assert said.code == 0 and "serves the renewed certificate" in said.text
        assert host.served().serial != before.serial and host.served().issuer == before.issuer


def test_nor_does_one_of_an_issuer_that_was_published_ahead(mail, lab, announced, zone_hash):
    there = zone_hash()
    for host in mail.values():
        before = host.served()
        said = host.certonly(lab["acme"]["other_directory"], "--reuse-key")
        assert said.code == 0 and "serves the renewed certificate" in said.text
        assert host.served().spki == before.spki and host.served().issuer != before.issuer
        assert issuer(host) == announced[1]
    assert zone_hash() == there


def test_a_renewal_of_another_issuer_is_refused_by_the_gate(mail, lab):
    """The other authority has begun anew, as Pebble does when it is restarted: nobody has heard of its intermediate."""
    scene.lab("exec", "acme", "systemctl", "restart", "pebble@2")
    ready.wait_for([(hosts.HOSTS["acme"], None, ready.acme_problem)], 30)
    forgotten = "/etc/letsencrypt/accounts/" + urllib.parse.urlsplit(lab["acme"]["other_directory"]).netloc
    for host in mail.values():
        before = host.untouched()
        assert host.run("rm", "-r", forgotten).code == 0
        said = " ".join(host.certonly(lab["acme"]["other_directory"], "--reuse-key").text.split())
        assert "Hook 'deploy-hook' reported error code 1" in said
        assert "Cannot deploy the chain of key" in said and "in 2 0 1, 2 1 1" in said
        looked = host.gate("look")
        assert looked.code == 1 and "in 2 0 1, 2 1 1" in looked.text
        assert host.untouched() == before


def test_the_playbook_brings_the_new_issuer_in(play, mail, published, story, on_issuers, announced):
    before = {short: host.served() for short, host in mail.items()}
    play("renew", *on_issuers)
    for short, host in mail.items():
        after = host.served()
        assert after.spki == before[short].spki and after.issuer != before[short].issuer
        old = story["first"][short] | announced[1]
        assert not issuer(host) & old
        assert published(host.host.name) == old | issuer(host), "the old ones stay for 180 days"
        assert host.gate("look").code == 0


def test_an_issuer_that_comes_back_is_no_matter(mail, lab):
    """Authorities alternate at random: the record of the first one is still there."""
    time.sleep(AFTER)
    for host in mail.values():
        before = host.served()
        said = host.certonly(lab["acme"]["directory"], "--reuse-key")
        assert said.code == 0 and "serves the renewed certificate" in said.text
        assert host.served().issuer != before.issuer and host.served().spki == before.spki


def test_nothing_to_do_with_issuers_changes_nothing(play, mail, zone_hash, on_issuers):
    """The first run takes a copy of what certbot's hook has served meanwhile, and that is all."""
    before = {short: host.untouched() for short, host in mail.items()}, zone_hash()
    play("renew", *on_issuers)
    assert set(play("renew", *on_issuers).changed.values()) == {0}
    assert ({short: host.untouched() for short, host in mail.items()}, zone_hash()) == before


def test_from_the_issuer_back_to_the_key(play, mail, published, story):
    """With another digest than it had in the beginning: usage and matching type in one run."""
    play("renew", "-e", json.dumps({"dane_records": ["3 1 2"]}))
    for short, host in mail.items():
        assert key(host) == story["keys"][short]
        assert published(host.host.name) == {key(host, 2)}
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


def test_from_one_digest_to_another(play, stage, mail):
    """RFC 7671 section 8.3, as an ordinary run: the new one beside the old one first."""
    before = {short: host.untouched() for short, host in mail.items()}
    since = time.time()
    play("renew")
    for host in mail.values():
        old, new = key(host, 2), key(host)
        assert stage.versions(host.host.name, since) == [{old}, {old, new}, {new}]
    assert {short: host.untouched() for short, host in mail.items()} == before
    time.sleep(AFTER)


def test_from_the_key_to_the_root(play, mail, published, trusted):
    play("renew", "-e", ROOT)
    for host in mail.values():
        there = published(host.host.name)
        assert trusted in there and not there & (issuer(host) | {key(host)})
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
    """With both digests, of which a sender takes the stronger."""
    play("renew", "-e", json.dumps({"dane_records": ["3 1 1", "3 1 2"], **TRUST}))
    for host in mail.values():
        assert published(host.host.name) == {key(host), key(host, 2)} and len(chain_of(host)) == 2
    time.sleep(AFTER)


def test_no_delivery_failed_and_no_cache_could_have_seen_a_mismatch(stage, start):
    verdict = stage.judge(start, expect_new_keys=False, extra_records=1)
    assert (verdict["outcome"], verdict["reasons"], verdict["void"]) == ("PASS", [], [])
    assert (verdict["failed"], verdict["exposure"]) == (0, 0.0)
    assert verdict["verified"] > 100
    # certbot by itself, with the issuer that was published ahead; the playbook with the new issuer; certbot with the first
    # one again, with what other clients accept, and under the record of the root.
    assert sorted(switch["host"] for switch in verdict["switches"]) == ["mx1"] * 6 + ["mx2"] * 6
