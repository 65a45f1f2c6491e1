# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Renewals by dns-01 and by a directory of a web server, and rekeys of what is due, by runs that never wait.

The tests are one story and run in their order; the verdict comes last.
"""

from __future__ import annotations

import json
import pathlib
import re
import time

import pytest
from scene import AFTER, BEFORE

pytestmark = pytest.mark.usefixtures("in_order")
DOCUMENT = pathlib.Path(__file__).resolve().parents[3] / "docs" / "uninstall.md"
INI = "/etc/letsencrypt/mailops-dane-rfc2136.ini"
WEBROOT = "/var/www/html"
DUE = ("-e", "dane_rekey=due", "-e", "dane_wait=defer")
# The caches of the lab have let go after that many runs, with some to spare.
MOST_RUNS = 9
AUTHENTICATORS = {"mx1": "dns-rfc2136", "mx2": "webroot"}


@pytest.fixture(scope="module")
def options(stage, lab):
    """What this site writes into its group_vars, as -e takes it."""
    tsig = lab["tsig"]
    return ("-e", json.dumps({
        "dane_hook_resolvers": [stage.about["resolver"]["ipv4"]],
        "dane_certbot_authenticator": "{{ 'dns-rfc2136' if inventory_hostname.startswith('mx1.') else 'webroot' }}",
        "dane_certbot_webroot": WEBROOT,
        "dane_certbot_rfc2136": {
            "server": lab["hosts"][lab["primary"]]["ipv4"], "name": tsig["name"], "algorithm": tsig["algorithm"],
            "secret": tsig["secret"], "propagation": 12},
    }))


@pytest.fixture(name="story", scope="module", autouse=True)
def the_story(stage, play, mail, options):
    """Both hosts under DANE, senders delivering, the witness watching."""
    mail["mx2"].run("mkdir", "-p", WEBROOT)
    mail["mx2"].run("systemd-run", "--unit=web", "python3", "-m", "http.server", "80", "--bind", "::", "--directory", WEBROOT)
    enabled = play("enable", "-vvv", *options)
    stage.watch()
    start = stage.deliver()
    time.sleep(BEFORE)
    return {"enabled": enabled, "start": start}


def authenticators(host):
    """How certbot renews each lineage of a host (dict)."""
    said = host.run("grep", "-r", "^authenticator", "/etc/letsencrypt/renewal").text.splitlines()
    return {line.partition(":")[0].rpartition("/")[2]: line.rpartition(" = ")[2] for line in said}


def test_certificates_came_in_the_way_of_the_options(mail):
    for short, host in mail.items():
        assert authenticators(host) == {f"{host.host.name}.conf": AUTHENTICATORS[short]}
        assert "Pebble" in host.served().issuer


def test_the_key_for_updates_is_for_root_alone_and_in_no_output(mail, story, lab):
    secret = lab["tsig"]["secret"]
    assert mail["mx1"].run("stat", "-c", "%a %U %G", INI).text == "600 root root\n"
    assert secret in mail["mx1"].run("cat", INI).text
    assert mail["mx2"].run("test", "-e", INI).code == 1
    assert "ESTABLISH SSH CONNECTION" in story["enabled"].output, "this was not -vvv"
    assert secret not in story["enabled"].output


def test_a_second_run_changes_nothing(play, options):
    assert set(play("enable", *options).changed.values()) == {0}


def test_certbots_timer_renews_in_the_same_way(mail):
    for short, host in mail.items():
        before = host.served()
        said = host.renew()
        assert said.code == 0 and "postfix serves the renewed certificate" in said.text
        after = host.served()
        assert after.serial != before.serial and after.spki == before.spki
        assert authenticators(host) == {f"{host.host.name}.conf": AUTHENTICATORS[short]}


def test_with_nothing_due_nothing_changes_and_the_next_is_named(mail, play, options):
    before = {short: host.untouched() for short, host in mail.items()}
    played = play("rekey", *DUE, *options)
    assert played.changed == {host.host.name: 0 for host in mail.values()}
    for short, host in mail.items():
        assert host.untouched() == before[short]
        assert f"{host.host.name}: key {before[short][1].spki[:16]}, known since" in played.output
    assert played.output.count("is not due before") == 2
    assert all(host.ledger()["operation"] is None for host in mail.values())


def test_only_the_host_whose_key_is_due_begins(mail, play, options, story):
    one, two = mail["mx1"], mail["mx2"]
    before = {short: host.served() for short, host in mail.items()}
    since = one.age_key()
    assert f"known since {since} and due for a rekey from" in one.gate("status").text
    assert since not in two.gate("status").text
    played = play("rekey", *DUE, *options)
    assert f"{one.host.name}: key {before['mx1'].spki[:16]}, known since {since}, is due since" in played.output
    assert f"{two.host.name}: key {before['mx2'].spki[:16]}, known since" in played.output
    assert played.changed[two.host.name] == 0 and played.changed[one.host.name] > 0
    assert one.ledger()["operation"]["kind"] == "rekey" and two.ledger()["operation"] is None
    # Deferred: made and published, not served.
    assert {short: host.served() for short, host in mail.items()} == before
    story["before"] = before


def test_later_runs_go_on_with_it_and_no_other_begins(mail, play, options, published, story):
    one, two, before = mail["mx1"], mail["mx2"], story["before"]
    for _run in range(MOST_RUNS):
        played = play("rekey", *DUE, *options)
        if one.ledger()["operation"] is None:
            break
        assert "is open and goes on" in played.output
        time.sleep(3)
    assert one.ledger()["operation"] is None
    after = one.served()
    assert after.spki != before["mx1"].spki and two.served() == before["mx2"]
    assert published(one.host.name) == {f"3 1 1 {after.spki}"}
    # Also the next key came by dns-01, and will be renewed so.
    assert authenticators(one) == {f"{one.host.name}{suffix}.conf": "dns-rfc2136" for suffix in ("", "-2")}


def test_then_the_new_key_is_young_and_nothing_is_due(mail, play, options):
    played = play("rekey", *DUE, *options)
    assert played.changed == {host.host.name: 0 for host in mail.values()}
    assert played.output.count("is not due before") == 2
    assert mail["mx1"].renew().code == 0


def test_who_leaves_keeps_key_and_record_and_renewals_go_on(mail, records, stage):
    """The commands of docs/uninstall.md, as they stand there, on the host that has two lineages."""
    host = mail["mx1"]
    before, there = host.served(), records()
    (commands,) = re.findall(r"^```sh\n(.*?)^```$", DOCUMENT.read_text(encoding="utf-8"), re.M | re.S)
    assert "name=mx1.example.org " in commands
    # As docs/gate.md has it.
    drop_in = "/etc/systemd/system/postfix@-.service.d"
    host.run("sh", "-ec", f"mkdir {drop_in}; printf '[Service]\nExecStartPre=/usr/local/sbin/dane-gate check\n'"
                          f" > {drop_in}/dane-gate.conf; systemctl daemon-reload")
    untouched = host.untouched()
    said = host.run("sh", "-c", commands.replace("name=mx1.example.org ", "name=mx9.example.org "))
    assert said.code != 0 and "no lineage has the key that is served" in said.text and host.untouched() == untouched
    said = host.run("sh", "-c", commands.replace("name=mx1.example.org ", f"name={host.host.name} "))
    assert said.code == 0 and "reuse_key = True" in said.text
    assert authenticators(host) == {f"{host.host.name}-2.conf": "dns-rfc2136"}
    # The lab's own CA certificate has a name like ours.
    found = host.run("find", "/etc", "/usr/local", "/var/lib", "-name", "*dane*", "-not", "-path", "/etc/letsencrypt/*",
                     "-not", "-name", "mailops-dane-lab.*")
    assert found.text == ""
    assert host.served() == before and records() == there
    assert host.renew().code == 0
    stage.wait_for(lambda: host.served().serial != before.serial, 60, "a renewed certificate at port 25")
    assert host.served().spki == before.spki and records() == there


def test_no_delivery_failed_and_no_cache_could_have_seen_a_mismatch(stage, story):
    time.sleep(AFTER)
    verdict = stage.judge(story["start"], expect_new_keys=False)
    assert (verdict["outcome"], verdict["reasons"], verdict["void"]) == ("PASS", [], [])
    assert (verdict["failed"], verdict["exposure"]) == (0, 0.0)
    assert verdict["verified"] > 100
