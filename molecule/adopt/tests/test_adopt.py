# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts under DANE by hand are taken over by the site playbook of the documentation, exactly as it stands there.

As a site has it: an ordinary user with sudo on the mail hosts and none here, ``localhost`` in the inventory, a role of
somebody else that owns main.cf and variables whose names are like ours, and one host where only that role may touch it.
"""

from __future__ import annotations

import json
import pathlib
import re
import time

import pytest
import snapshot
import yaml
from scene import AFTER, BEFORE

HERE = pathlib.Path(__file__).resolve().parent
DOCUMENT = HERE.parents[2] / "docs" / "site-playbook.md"
STALE = "3 1 1 " + "dead" * 16
LIVE = "/etc/letsencrypt/live/mx1.example.test"
HOOKS_RAN = "/var/log/hooks-of-the-site"
HOST_VARS = {
    "mx1.example.test": {
        "postfix_main": {
            "smtpd_tls_cert_file": f"{LIVE}/fullchain.pem",
            "smtpd_tls_key_file": f"{LIVE}/privkey.pem",
        },
    },
    "mx2.example.test": {
        "postfix_main": {"smtpd_tls_chain_files": "/etc/postfix/acme-chain.pem"},
        "dane_postfix_config": "check",
        "dane_chain_file": "/etc/postfix/acme-chain.pem",
    },
}
# Names that modules and roles of ours use for their own, too.
SITE_VARS = {"tlsa": {"mine": True}, "postfix_config": "manage", "certbot_email": "me@example.test", "records": ["mine"]}
SUDO = """#!/bin/sh
echo "$@" >> "$0.called"
echo "sudo: there is none on the controller" >&2
exit 1
"""


@pytest.fixture(scope="module")
def site(stage):
    """The site playbook, taken out of the documentation."""
    (text,) = re.findall(r"^```yaml\n(# site\.yml\n.*?)^```$", DOCUMENT.read_text(encoding="utf-8"), re.M | re.S)
    path = stage.out / "site.yml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def inventory(stage):
    """The lab's inventory with localhost in it, an ordinary user, and the variables of this site."""
    about = yaml.safe_load(pathlib.Path(stage.about["inventory"]).read_text(encoding="utf-8"))
    about["mailservers"]["vars"].update(ansible_user=stage.about["ssh"]["sudo_user"], **SITE_VARS)
    about["controllers"] = {"hosts": {"localhost": {"ansible_connection": "local"}}}
    place = stage.out / "inventory"
    for directory, content in (("host_vars", HOST_VARS), ("group_vars", {"mailservers": stage.variables()})):
        (place / directory).mkdir(parents=True, exist_ok=True)
        for name, variables in content.items():
            (place / directory / f"{name}.yml").write_text(json.dumps(variables), encoding="utf-8")
    (place / "hosts.yml").write_text(yaml.safe_dump(about), encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def sudo(stage):
    """A sudo that fails, and tells that it was called."""
    path = stage.out / "bin" / "sudo"
    path.parent.mkdir(exist_ok=True)
    path.write_text(SUDO, encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture(scope="module")
def run(play, inventory, sudo):
    """Run a playbook as this site does."""

    def as_this_site(playbook, *arguments, check=True):
        environment = {
            "ANSIBLE_ROLES_PATH": str(HERE.parent / "roles"),
            # Else root would become root here without asking sudo, and nobody would notice.
            "ANSIBLE_BECOME_ALLOW_SAME_USER": "true",
            "PATH": f"{sudo.parent}:/usr/bin:/bin",
        }
        return play(playbook, "-i", str(inventory), *arguments, env=environment, check=check, limit="")

    return as_this_site


def of(found, name):
    """The records of one base domain from all servers, which have to have the same."""
    mine = {tuple(texts) for source, texts in found.items() if source.startswith(f"_25._tcp.{name}. ")}
    assert len(mine) == 1, f"{name}: the servers have {mine}"
    return next(iter(mine))


@pytest.fixture(scope="module")
def story(stage, run, site, records, file_hashes, mail):
    """Everything that happened, in its order: {step: what was seen}."""
    one = mail["mx1"]
    told = {"records by hand": records(), "files by hand": file_hashes("mx1")}
    stage.watch()
    start = time.time()
    time.sleep(2)
    told["first"] = run(site)
    told["records adopted"], told["files adopted"] = records(), file_hashes("mx1")
    told["second"] = run(site)
    told["hooks before"], told["served before"] = one.run("cat", HOOKS_RAN).text, one.served()
    told["renewal"] = one.renew()
    told["hooks after"], told["served after"] = one.run("cat", HOOKS_RAN).text, one.served()
    told["records renewed"] = records()
    time.sleep(2)
    adopted = time.time()
    begin = stage.deliver()
    time.sleep(BEFORE)
    told["rekey"] = run("rekey", "--become")
    time.sleep(AFTER)
    told["records rekeyed"] = records()
    end = time.time()
    told["adoption"] = stage.judge(start, check_end=False, end=adopted, suffix="-adoption")
    told["verdict"] = stage.judge(begin, check_end=False, end=end)
    return told


def test_the_canary_calls_sudo_on_the_controller(run, sudo):
    called = sudo.with_name("sudo.called")
    played = run(HERE / "become.yml", check=False)
    assert played.returncode != 0
    assert called.exists()
    called.unlink()


def test_the_certificate_of_an_adopted_lineage_stays(story):
    def lineage(files):
        return {path: about for path, about in files.items()
                if path.startswith(("/etc/letsencrypt/live", "/etc/letsencrypt/archive"))}

    assert len(lineage(story["files by hand"])) > 4
    assert lineage(story["files adopted"]) == lineage(story["files by hand"])


def test_the_records_of_an_adopted_lineage_stay(story):
    before = of(story["records by hand"], "mx1.example.test")
    assert len(before) == 1
    assert of(story["records adopted"], "mx1.example.test") == before


def test_a_key_outside_certbot_is_replaced_and_its_record_withdrawn(story):
    before = set(of(story["records by hand"], "mx2.example.test"))
    after = set(of(story["records adopted"], "mx2.example.test"))
    assert len(before) == len(after) == 2
    assert before & after == {STALE}


@pytest.mark.parametrize("when", ["first", "second", "rekey"])
def test_the_record_of_somebody_else_is_named(story, when):
    assert STALE in story[when].output


@pytest.mark.parametrize("when", ["records adopted", "records rekeyed"])
def test_the_record_of_somebody_else_is_kept(story, when):
    assert STALE in of(story[when], "mx2.example.test")


def test_nobody_could_have_seen_a_mismatch_while_hosts_were_adopted(story):
    verdict = story["adoption"]
    assert verdict["exposure"] == 0.0
    # The new key of mx2, and what certbot then renewed on mx1.
    assert [switch["host"] for switch in verdict["switches"]] == ["mx2", "mx1"]


def test_a_second_run_changes_nothing(story):
    assert story["second"].changed == {"mx1.example.test": 0, "mx2.example.test": 0}, story["second"].output


def test_a_rekey_afterwards_fails_no_delivery(story):
    verdict = story["verdict"]
    assert (verdict["outcome"], verdict["reasons"], verdict["void"]) == ("PASS", [], [])
    assert (verdict["failed"], verdict["exposure"]) == (0, 0.0)
    assert sorted(switch["host"] for switch in verdict["switches"]) == ["mx1", "mx2"]
    assert verdict["verified"] > 100


def test_after_the_rekey_only_new_keys_have_records(story):
    for name, foreign in (("mx1.example.test", set()), ("mx2.example.test", {STALE})):
        before, after = set(of(story["records adopted"], name)), set(of(story["records rekeyed"], name))
        assert len(after - foreign) == 1
        assert after & before == foreign


def test_the_other_role_kept_its_settings(story, host):
    name = host.check_output("hostname")
    for setting, value in HOST_VARS[name]["postfix_main"].items():
        assert host.check_output(f"postconf -h {setting}") == value


def test_our_role_set_what_it_manages_and_nothing_else(story):
    assert snapshot.execute("mx1", "postconf -h smtpd_tls_chain_files").strip() == "/etc/postfix/dane-chain.pem"
    assert "/etc/postfix/dane-chain.pem" not in snapshot.files("mx2")


def test_renewals_keep_the_adopted_key(story):
    said = snapshot.execute("mx1", "grep -c '^reuse_key = True$' /etc/letsencrypt/renewal/mx1.example.test.conf")
    assert said.strip() == "1"


def test_a_renewal_of_the_adopted_lineage_is_served_with_the_same_key(story):
    assert story["renewal"].code == 0 and "serves the renewed certificate" in story["renewal"].text
    before, after = story["served before"], story["served after"]
    assert after.spki == before.spki and after.serial != before.serial
    assert of(story["records renewed"], "mx1.example.test") == of(story["records by hand"], "mx1.example.test")
    assert of(story["records renewed"], "mx1.example.test") == (f"3 1 1 {after.spki}",)


def test_hooks_of_others_go_on_running(story):
    """One in the directory of hooks, one in the renewal file of the lineage, which ran when that was made, too."""
    assert story["hooks before"] == f"of-the-lineage {LIVE}\n"
    assert story["hooks after"] == f"of-the-lineage {LIVE}\nreload-postfix {LIVE}\nof-the-lineage {LIVE}\n"
    assert "reported error code" not in story["renewal"].text


def test_nothing_called_sudo_on_the_controller(story, sudo):
    assert not sudo.with_name("sudo.called").exists()
