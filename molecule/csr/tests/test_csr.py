# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certificates for requests of our own: enabled, renewed by the unit of this collection, rekeyed; with a standby key that
is kept offline, rekeyed without it, and at once with it.

The tests are one story and run in their order; the verdicts on its parts come last.
"""

from __future__ import annotations

import base64
import json
import subprocess
import time

import leaks
import pytest
from judge.sightings import read, runs
from ready import ssh_command
from scene import AFTER, BEFORE

pytestmark = pytest.mark.usefixtures("in_order")
CSR = "/etc/mailops-dane/csr"
GIVEN = "/etc/ssl/private/mail-next.pem"
REQUEST = "/etc/ssl/mail-next.csr"
UNIT = "mailops-dane-csr.service"
DROP_IN = f"/run/systemd/system/{UNIT}.d/now.conf"
BROUGHT = "/run/standby.key"
WAITING = "  waiting "
# What is in the memory of programs, and what packages bring, is not searched.
SEARCH = """
import base64, os, sys
needles = [base64.b64decode(line) for line in sys.stdin]
for root, folders, files in os.walk("/"):
    folders[:] = [name for name in folders if os.path.join(root, name) not in ("/proc", "/sys", "/usr")]
    for path in (os.path.join(root, name) for name in files):
        try:
            with open(path if os.path.isfile(path) else os.devnull, "rb") as stream:
                data = stream.read()
        except FileNotFoundError:
            continue
        if any(needle in data for needle in needles):
            print(path)
"""


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


def test_a_request_for_another_key_is_refused_before_anything_is_touched(play, mail, options):
    """mx1 brings a key and a request for it; here the option names another key."""
    host = mail["mx1"]
    name, other = host.host.name, f"{lineage(host)}/privkey.pem"
    assert host.run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", GIVEN).code == 0
    assert host.run("openssl", "req", "-new", "-key", GIVEN, "-subj", f"/O=who brings it/CN={name}", "-addext",
                    f"subjectAltName=DNS:{name}", "-out", REQUEST).code == 0
    before = host.untouched()
    played = play("rekey", *options, "-e", f"dane_csr_request={REQUEST}", "-e", f"dane_csr_privatekey={other}", check=False,
                  limit=name)
    assert played.returncode != 0
    words = " ".join(played.output.split())
    assert f"{name}: dane_csr_request: Cannot use '{REQUEST}': expected a request for the key in {other}, " in words
    assert f"found one for key {key_in(host, GIVEN)[:16]}." in words
    assert host.untouched() == before and host.ledger()["operation"] is None


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
    """mx1 brings its own key and request; those of mx2 are made there. What was renewed is in the other directory."""
    time.sleep(AFTER)
    windows["renewals"].append(time.time())
    windows["rekey"] = [time.time()]
    time.sleep(BEFORE)
    one, two = mail["mx1"], mail["mx2"]
    before = {short: host.served() for short, host in mail.items()}
    given, untouched = key_in(one, GIVEN), one.run("stat", "-c", "%y %z %a", GIVEN).text
    # The refused one is open on mx1 and goes on; without `new` mx2 would begin none beside it.
    play("rekey", *options, "-e", "dane_rekey=new", "-e", json.dumps({
        option: f"{{{{ '{path}' if inventory_hostname == '{one.host.name}' else '' }}}}"
        for option, path in (("dane_csr_privatekey", GIVEN), ("dane_csr_request", REQUEST))}))
    assert one.served().spki == given and one.run("stat", "-c", "%y %z %a", GIVEN).text == untouched
    assert one.run("cmp", REQUEST, f"{lineage(one, '-2')}/request.pem").code == 0
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
    assert mail["mx1"].run("cmp", REQUEST, f"{lineage(mail['mx1'], '-2')}/request.pem").code == 0


def with_key(host, key, line):
    """Run a command on a host with a key in its input, which nothing prints (the words that it says)."""
    done = subprocess.run([*ssh_command(host.host), line], input=key, stdout=subprocess.PIPE, check=True, timeout=120)
    return done.stdout.decode().split()


def places(host, wanted):
    """The files of a host in which one of the needles is (sorted list)."""
    lines = b"".join(base64.b64encode(needle) + b"\n" for needle in wanted)
    return sorted(with_key(host, lines, f"python3 -c '{SEARCH}'"))


def keys(published, host):
    """The keys at the owner name of a host (set of digests)."""
    return {text.removeprefix("3 1 1 ") for text in published(host.host.name)}


def versions(stage, host, since):
    """The RRsets of the owner name in the order in which the primary gave them since an epoch (list of sets of digests)."""
    seen = read(stage.witness_file)
    return [[{text.removeprefix("3 1 1 ") for text in run.value.records} for run in runs(seen.rrsets[source])
             if run.end > since]
            for source in seen.sources(f"_25._tcp.{host.host.name}.")
            if source.server == stage.about["primary"] and "." in source.address][0]


@pytest.fixture(name="offline", scope="module")
def the_operator(stage, options):
    """The operator's key and certificate, and the options of a user who has them (list of arguments)."""
    kept = stage.out / "operator"
    kept.mkdir(exist_ok=True)
    for old in kept.glob("*.pem"):
        old.unlink()
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(kept / "operator.key"), "-out",
                    str(kept / "operator.pem"), "-days", "9", "-subj", "/CN=operator"], check=True, capture_output=True)
    return [*options, "-e", json.dumps({
        "dane_standby": True, "dane_standby_store": "offline", "dane_standby_recipient": str(kept / "operator.pem"),
        "dane_standby_export": str(kept)})]


def exported(stage, host):
    """The files of a host's standby keys that were fetched, the oldest first."""
    return sorted((stage.out / "operator").glob(f"{host.host.name}-ecdsa-*.cms.pem"), key=lambda path: path.stat().st_mtime)


def test_a_standby_key_is_made_for_its_operator_alone(play, stage, mail, published, offline, windows, story):
    windows["standby"] = [time.time()]
    time.sleep(BEFORE)
    before, since = {short: host.untouched() for short, host in mail.items()}, time.time()
    # As much as it can be made to say.
    played = play("renew", "-vvv", "--diff", *offline)
    for short, host in mail.items():
        assert host.untouched() == before[short]
        (path,) = exported(stage, host)
        operator = stage.out / "operator" / "operator"
        done = subprocess.run(["openssl", "cms", "-decrypt", "-inform", "PEM", "-in", str(path), "-recip", f"{operator}.pem",
                               "-inkey", f"{operator}.key"], stdout=subprocess.PIPE, check=True)
        pem = done.stdout
        spki = subprocess.run("openssl pkey -pubout -outform DER | sha256sum", shell=True, input=pem, check=True,
                              stdout=subprocess.PIPE).stdout.decode().split()[0]
        story[short] = (spki, pem)
        assert path.name.split("-")[-1] == f"{spki[:16]}.cms.pem"
        assert keys(published, host) == {host.served().spki, spki}
        wanted = leaks.needles([pem.decode()])
        assert leaks.found_in(played.output, wanted) == [] and places(host, wanted) == []
        assert leaks.found_in_files([stage.out], wanted, since) == {}


def test_a_rekey_without_it_waits_and_leaves_it_published(play, stage, mail, published, offline, story):
    """And what is there is neither made nor fetched once more."""
    two, (spki, _pem) = mail["mx2"], story["mx2"]
    for path in exported(stage, two):
        path.unlink()
    old, since = two.served().spki, time.time()
    played = play("rekey", *offline, limit=two.host.name)
    new = two.served().spki
    assert WAITING in played.output and new not in (old, spki)
    assert versions(stage, two, since) == [{old, spki}, {old, spki, new}, {spki, new}]
    assert exported(stage, two) == []


def test_after_a_compromise_it_is_served_at_once(play, stage, mail, published, offline, story):
    one, (spki, pem) = mail["mx1"], story["mx1"]

    def known():
        assert one.gate("look").code == 0
        return f"3 1 1 {spki}"[:40] + " OMNIPRESENT" in one.gate("status").text
    stage.wait_for(known, 120, "the standby key in every version")
    with_key(one, pem, f"umask 077; cat > {BROUGHT}")
    assert places(one, leaks.needles([pem.decode()])) == [BROUGHT], "what is looked for can be found"
    old, since = one.served().spki, time.time()
    played = play("rekey", *offline, "-e", "dane_reason=compromise", "-e", f"dane_csr_privatekey={BROUGHT}",
                  limit=one.host.name)
    words = " ".join(played.output.split())
    assert WAITING not in played.output and "or at once if it is the standby key that was kept offline" in words
    assert one.served().spki == spki
    (new,) = keys(published, one) - {spki}
    assert versions(stage, one, since) == [{old, spki}, {spki}, {spki, new}]
    assert one.ledger()["operation"] is None and old in one.ledger()["retired"]
    assert f"Remove {BROUGHT} (shred -u)" in words and one.run("shred", "-u", BROUGHT).code == 0
    # The next one is at its operator's, and the host remembers no other.
    assert [path.name.split("-")[-1][:16] for path in exported(stage, one)] == [spki[:16], new[:16]]
    assert one.run("ls", "/var/lib/mailops-dane/standby").text.split() == [exported(stage, one)[-1].name]


def test_once_more_with_it_nothing_changes(play, mail, offline, windows):
    before = {short: host.untouched() for short, host in mail.items()}
    assert set(play("renew", *offline).changed.values()) == {0}
    assert {short: host.untouched() for short, host in mail.items()} == before
    windows["standby"].append(time.time())


@pytest.mark.parametrize("name", ["renewals", "rekey", "standby"])
def test_no_delivery_failed_and_no_cache_could_have_seen_a_mismatch(stage, windows, name):
    start, end = windows[name]
    verdict = stage.judge(start, expect_new_keys=name != "renewals", extra_records=int(name == "standby"), end=end,
                          suffix=f"-{name}")
    assert (verdict["outcome"], verdict["reasons"], verdict["void"]) == ("PASS", [], [])
    assert (verdict["failed"], verdict["exposure"]) == (0, 0.0)
    assert verdict["verified"] > 50
    assert sorted(switch["host"] for switch in verdict["switches"]) == ["mx1", "mx2"]
