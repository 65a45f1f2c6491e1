# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certificates for requests of our own: enabled, renewed by the unit of this collection, rekeyed.

The tests are one story and run in their order; the verdicts on its two parts come last.
"""

from __future__ import annotations

import json
import time

import pytest
from scene import AFTER, BEFORE

pytestmark = pytest.mark.usefixtures("in_order")
CSR = "/etc/mailops-dane/csr"
GIVEN = "/etc/ssl/private/mail-next.pem"
UNIT = "mailops-dane-csr.service"
DROP_IN = f"/run/systemd/system/{UNIT}.d/now.conf"


@pytest.fixture(scope="module", name="options")
def the_options(stage):
    """What a user would write beside the other variables (list of arguments)."""
    return ["-e", json.dumps(
        {"dane_certbot_method": "csr", "dane_hook_resolvers": [stage.about["resolver"]["ipv4"]]})]


@pytest.fixture(scope="module", autouse=True)
def windows(play, stage, options):
    """Both hosts under DANE, senders delivering, the witness watching; the windows that are judged ({name: [from, to]})."""
    play("enable", *options)
    stage.watch()
    start = stage.deliver()
    time.sleep(BEFORE)
    return {"renewals": [start]}


def key_in(host, path):
    """The digest of the key in a file on a host (hexadecimal)."""
    said = host.run("sh", "-c", f"openssl pkey -in '{path}' -pubout -outform DER | sha256sum")
    assert said.code == 0
    return said.text.split()[0]


def lineage(host, suffix=""):
    return f"{CSR}/live/{host.host.name}{suffix}"


def test_what_is_served_is_for_the_key_of_our_request(mail, published):
    for host in mail.values():
        assert host.served().spki == key_in(host, f"{lineage(host)}/privkey.pem")
        assert published(host.host.name) == {f"3 1 1 {host.served().spki}"}
        # certbot has made no lineage of its own, and would renew none.
        assert host.run("ls", "/etc/letsencrypt/live").code != 0
        assert host.run("systemctl", "is-active", "mailops-dane-csr.timer").text == "active\n"


def test_enabled_again_nothing_changes(play, mail, options):
    before = {short: host.untouched() for short, host in mail.items()}
    assert set(play("enable", *options).changed.values()) == {0}
    assert {short: host.untouched() for short, host in mail.items()} == before


def test_nothing_to_renew(mail):
    for host in mail.values():
        before = host.untouched()
        assert host.run("systemctl", "start", UNIT).code == 0
        assert "days left, nothing to do" in host.run("journalctl", "-u", UNIT, "-o", "cat").text
        assert host.gate("look").code == 0
        assert host.untouched() == before


def test_its_unit_renews_with_the_same_key_through_the_gate(mail, published):
    """The lab's certificates last for years: the unit is told not to wait for a third of that."""
    for host in mail.values():
        before = host.served()
        text = "[Service]\\nExecStart=\\nExecStart=/usr/local/sbin/dane-csr renew --force\\n"
        assert host.run("sh", "-c", f"mkdir -p {DROP_IN.rpartition('/')[0]} && printf '{text}' > {DROP_IN} && "
                        "systemctl daemon-reload").code == 0
        assert host.run("systemctl", "start", UNIT).code == 0
        said = host.run("journalctl", "-u", UNIT, "-o", "cat").text
        assert "renewed with the same key" in said and "postfix serves the renewed certificate of key" in said
        after = host.served()
        assert after.serial != before.serial and after.spki == before.spki
        assert published(host.host.name) == {f"3 1 1 {after.spki}"}


def test_a_renewal_that_fails_is_seen_and_changes_nothing(mail, lab):
    host = mail["mx2"]
    before = host.untouched()
    here = lab["acme"]["directory"]
    assert host.run("sed", "-i.before", f"s#{here}#{here}-that-is-none#", "/etc/mailops-dane/csr.json").code == 0
    try:
        failed = host.run("systemctl", "start", UNIT)
    finally:
        host.run("mv", "/etc/mailops-dane/csr.json.before", "/etc/mailops-dane/csr.json")
    assert failed.code != 0
    assert UNIT in host.run("systemctl", "--failed", "--plain").text
    said = host.run("journalctl", "-u", UNIT, "-o", "cat").text
    assert f"Cannot obtain a certificate for '{host.host.name}': certbot ended with 1" in said
    assert host.untouched() == before


def test_a_key_that_is_served_already_is_no_next_key(play, mail, options):
    host = mail["mx1"]
    before = host.untouched()
    played = play("rekey", *options, "-e", f"dane_csr_privatekey={lineage(host)}/privkey.pem", check=False,
                  limit=host.host.name)
    assert played.returncode != 0
    words = " ".join(played.output.split())
    assert f"{host.host.name}: dane_csr_privatekey: Cannot use {lineage(host)}/privkey.pem: expected another key" in words
    assert host.untouched() == before


def test_a_rekey_with_a_key_that_was_given_and_with_one_that_is_made(play, mail, published, options, windows):
    """mx1 brings its own key; that of mx2 is made there. What was renewed is in the other directory."""
    time.sleep(AFTER)
    windows["renewals"].append(time.time())
    windows["rekey"] = [time.time()]
    time.sleep(BEFORE)
    one, two = mail["mx1"], mail["mx2"]
    before = {short: host.served() for short, host in mail.items()}
    assert one.run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", GIVEN).code == 0
    given, untouched = key_in(one, GIVEN), one.run("stat", "-c", "%y %z %a", GIVEN).text
    # The refused one is open on mx1 and goes on; without `new` mx2 would begin none beside it.
    play("rekey", *options, "-e", "dane_rekey=new", "-e", json.dumps(
        {"dane_csr_privatekey": f"{{{{ '{GIVEN}' if inventory_hostname == '{one.host.name}' else '' }}}}"}))
    assert one.served().spki == given and one.run("stat", "-c", "%y %z %a", GIVEN).text == untouched
    assert two.served().spki != before["mx2"].spki
    for short, host in mail.items():
        after = host.served()
        assert after.spki == key_in(host, f"{lineage(host, '-2')}/privkey.pem")
        assert before[short].spki == key_in(host, f"{lineage(host)}/privkey.pem")
        assert published(host.host.name) == {f"3 1 1 {after.spki}"}
        assert host.ledger()["operation"] is None
    time.sleep(AFTER)
    windows["rekey"].append(time.time())


def test_renewals_after_the_rekey(mail):
    """The other directory is renewed too, and stays where it is."""
    for host in mail.values():
        before = host.served()
        assert host.run("systemctl", "start", UNIT).code == 0
        assert host.served().serial != before.serial and host.served().spki == before.spki
        said = host.run("journalctl", "-u", UNIT, "-o", "cat").text
        assert said.count("has another key than the one that is served: nothing to do before a rekey") == 1
        found = host.run("find", CSR, "-name", "privkey.pem", "-perm", "/077").text
        assert found == "" and host.run("find", f"{CSR}/next", "-mindepth", "1").text == ""


@pytest.mark.parametrize("name", ["renewals", "rekey"])
def test_no_delivery_failed_and_no_cache_could_have_seen_a_mismatch(stage, windows, name):
    start, end = windows[name]
    verdict = stage.judge(start, expect_new_keys=name == "rekey", end=end, suffix=f"-{name}")
    assert (verdict["outcome"], verdict["reasons"], verdict["void"]) == ("PASS", [], [])
    assert (verdict["failed"], verdict["exposure"]) == (0, 0.0)
    assert verdict["verified"] > 50
    assert sorted(switch["host"] for switch in verdict["switches"]) == ["mx1", "mx2"]
