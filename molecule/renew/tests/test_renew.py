# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From one renewal to the next without a playbook, and what is then left for a playbook to do.

The tests are one story and run in their order; the verdicts on its two parts come last.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import re
import shlex
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import breaking
import hosts
import pytest
import ready
import zone
from scene import AFTER, BEFORE

pytestmark = pytest.mark.usefixtures("in_order")
DOCUMENT = pathlib.Path(__file__).resolve().parents[3] / "docs" / "gate.md"
UNIT = "/etc/mailops-dane/unit.json"
METRICS = "/var/lib/prometheus/node-exporter/mailops_dane.prom"
STATE, POSTFIX = "/var/lib/mailops-dane", "/etc/postfix"
CHAIN = f"{POSTFIX}/dane-chain.pem"
BACKUP = "/root/dane-chain.pem"
SERVICE = "postfix@-.service"
ADDED = f"submission.{hosts.ZONE}"


@pytest.fixture(scope="module", autouse=True)
def windows(play, stage, mail):
    """Both hosts under DANE, senders delivering, the witness watching; the windows that are judged ({name: [from, to]})."""
    for host in mail.values():
        assert host.run("mkdir", "-p", METRICS.rpartition("/")[0]).code == 0
        # The mail hosts of the lab throw all mail away; that to root is kept.
        assert host.run("postconf", "-e", "myorigin=$myhostname",
                        f"transport_maps=inline:{{root@{host.host.name}=local}}").code == 0
    play("enable", "-e", json.dumps({
        "dane_hook_resolvers": [stage.about["resolver"]["ipv4"]], "dane_metrics_file": METRICS}))
    stage.watch()
    start = stage.deliver()
    time.sleep(BEFORE)
    return {"renewals": [start]}


def two_records_at(records, host):
    """Whether a server has two records of a host already."""
    return any(len(texts or ()) == 2 for source, texts in records().items() if host.host.name in source)


def mails(host):
    """The subjects of the mails that root has (list of str)."""
    said = host.run("grep", "-h", "^Subject: ", "/var/mail/root")
    return [line.partition(" ")[2] for line in said.text.splitlines()] if said.code == 0 else []


def refusals(host):
    """The reasons that the metrics name, and no reason that they do not (list of str)."""
    said = host.run("grep", "^mailops_dane_refused{", METRICS)
    assert said.code == 0 and said.text.count("\n") > 5
    return [line.split('"')[1] for line in said.text.splitlines() if line.endswith(" 1")]


@pytest.fixture
def broken():
    """``broken(fault)``: break this now; it is mended at the end of the test, the last first."""
    with contextlib.ExitStack() as mending:
        def strike(fault):
            mending.callback(fault.lift)
            fault.strike()
            return fault
        yield strike


def newest(host, spki):
    """The serial number of the certificate that certbot has for a key (int)."""
    (lineage,) = [name for name, key in host.lineages().items() if key == spki]
    said = host.run("openssl", "x509", "-noout", "-serial", "-in", f"/etc/letsencrypt/live/{lineage}/cert.pem")
    return int(said.text.partition("=")[2], 16)


def completed_by_a_look(host, before):
    """What a hook left undone: the renewed certificate is served, for the key that was (``before``: what was served)."""
    looked = host.gate("look")
    assert looked.code == 0, looked.text
    after = host.served()
    assert after.spki == before.spki and after.serial == newest(host, before.spki) != before.serial
    assert host.run("test", "-e", f"{STATE}/renewed.pem").code == 1, "a copy of the key is left"


def test_nothing_to_do(mail):
    """The chain that the playbook made and the one that the hook would make are the same, to the byte."""
    for host in mail.values():
        before = host.untouched()
        said = host.gate("look")
        assert said.code == 0 and "already serves the certificate of key" in said.text
        assert host.untouched() == before
        assert host.ledger()["lost"] is None


def test_a_renewal_of_certbot_is_served(mail, published):
    for host in mail.values():
        before = host.served()
        said = host.renew()
        assert said.code == 0 and "postfix serves the renewed certificate of key" in said.text
        after = host.served()
        assert after.serial != before.serial and after.spki == before.spki
        assert published(host.host.name) == {f"3 1 1 {after.spki}"}


def test_the_key_is_in_no_file_of_others_and_in_no_output(mail):
    for host in mail.values():
        said = host.run("find", "/etc/postfix", "/var/lib/mailops-dane", "/etc/mailops-dane", "-type", "f", "-perm",
                        "/077", "-exec", "grep", "-l", "PRIVATE KEY", "{}", "+")
        assert said.text == ""
        assert host.run("grep", "-c", "PRIVATE", "/var/log/letsencrypt/letsencrypt.log").text == "0\n"


def test_a_renewal_that_the_hook_did_not_see_is_served_by_the_daily_look(mail):
    """certbot does not call a hook twice."""
    host = mail["mx1"]
    before = host.served()
    assert host.renew("--no-directory-hooks").code == 0
    assert host.served() == before
    assert host.run("systemctl", "start", "mailops-dane-look.service").code == 0
    assert host.served().serial != before.serial and host.served().spki == before.spki
    assert "serves the renewed certificate" in host.run("journalctl", "-u", "mailops-dane-look.service", "-o", "cat").text


def test_without_a_resolver_the_same_key_goes_by_the_ledger(mail, lab):
    """The gate's resolver is stopped. (With that of the host, Postfix itself is too slow: it looks up who calls.)"""
    host = mail["mx2"]
    before = host.served()
    assert host.run("sed", "-i.before", f"s/{lab['resolver']['ipv4']}/{lab['hosts']['acme']['ipv4']}/", UNIT).code == 0
    try:
        said = host.renew()
        looked = host.gate("look")
    finally:
        host.run("mv", UNIT + ".before", UNIT)
    assert said.code == 0 and "serves the renewed certificate" in said.text
    assert "by the ledger alone: Cannot ask the resolver: " + lab["hosts"]["acme"]["ipv4"] in " ".join(said.text.split())
    assert looked.code == 1 and "Cannot look: Cannot ask the resolver" in looked.text
    assert host.served().serial != before.serial and host.served().spki == before.spki
    assert host.gate("look").code == 0


def test_another_ca_is_no_matter_for_records_on_the_key(mail, lab):
    for host in mail.values():
        before = host.served()
        said = host.certonly(lab["acme"]["other_directory"], "--reuse-key")
        assert said.code == 0 and "serves the renewed certificate" in said.text
        after = host.served()
        assert after.spki == before.spki and after.issuer != before.issuer


def test_a_key_that_somebody_changed_by_hand_is_not_served(mail, lab):
    host = mail["mx1"]
    before = host.untouched()
    said = host.certonly(lab["acme"]["directory"], "--new-key")
    assert "Hook 'deploy-hook' reported error code 1" in said.text
    assert f"Cannot renew: no lineage has key {before[1].spki[:16]}" in " ".join(said.text.split())
    looked = host.gate("look")
    assert looked.code == 1 and "If the key was changed by hand, let rekey.yml bring in a new one" in looked.text
    assert "Traceback" not in said.text + looked.text
    assert host.untouched() == before
    # certbot has forgotten that renewals keep the key: each brings another one, and none of them is served.
    assert host.run("grep", "-c", "reuse_key = True", f"/etc/letsencrypt/renewal/{host.host.name}.conf").text == "0\n"
    # So does its timer, which is quiet; the journal has it all the same.
    assert host.renew("--quiet").text == ""
    assert host.run("journalctl", "-t", "dane-gate", "-p", "err", "-o", "cat").text.count("no lineage has key") == 2
    assert host.untouched() == before


def test_root_and_the_monitoring_hear_of_it_once(mail, stage):
    """By the mail host's own Postfix, which goes on serving the old chain."""
    told, other = mail["mx1"], mail["mx2"]
    stage.wait_for(lambda: mails(told), 60, "a mail to root")
    text = " ".join(told.run("cat", "/var/mail/root").text.split())
    assert f"Cannot renew: no lineage has key {told.served().spki[:16]}" in text
    assert f"is served, with key {told.served().spki[:16]}. Its certificate lasts until 20" in text
    assert f"ansible-playbook mailops.dane.rekey -l {told.host.name}" in text
    # certbot, a look and certbot's timer were refused for the same reason.
    assert mails(told) == [f"{told.host.name}: dane-gate renew refused (key)"]
    assert refusals(told) == ["key"]
    # Earlier, its look saw no DNS.
    stage.wait_for(lambda: mails(other), 60, "a mail to root")
    assert mails(other) == [f"{other.host.name}: dane-gate look failed (dns)"]
    assert refusals(other) == []
    ends = told.run("grep", "^mailops_dane_certificate_not_after_timestamp_seconds ", METRICS).text.split()[1]
    assert float(ends) > time.time()


@pytest.mark.parametrize("step", ["check", "reload"])
def test_a_hook_that_is_killed(mail, broken, step):
    """Before it replaces the chain file, and between that and the reload."""
    host = mail["mx2"]
    before = host.untouched()
    broken(breaking.killed_in("mx2", step))
    said = host.renew()
    assert "Hook 'deploy-hook' reported error code 137" in said.text
    assert host.run("test", "-e", breaking.WRAPPER).code == 1, "it was not killed there"
    if step == "check":
        assert host.untouched() == before
    else:
        # Processes with either chain may answer now.
        assert host.run("sha256sum", CHAIN).text != before[0]
    assert host.gate("check").code == 0 and host.ledger()["lost"] is None
    completed_by_a_look(host, before[1])


@pytest.mark.parametrize("directory", [STATE, POSTFIX])
def test_a_full_disk_in_the_hook(mail, broken, directory):
    """Nothing can be written before the question is asked, or nothing beside the chain file after it."""
    host = mail["mx2"]
    broken(breaking.small_disk("mx2", directory))
    before = host.untouched()
    full = broken(breaking.full("mx2", directory))
    said = " ".join(host.renew().text.split())
    assert "Hook 'deploy-hook' reported error code 1" in said and "Traceback" not in said
    assert f"Cannot write '{directory}/" in said and "No space left on device; nothing was changed" in said
    assert host.untouched() == before
    assert host.gate("check").code == 0 and host.ledger()["lost"] is None
    full.lift()
    completed_by_a_look(host, before[1])


def test_a_name_that_is_added_to_the_certificate(mail, stage, lab, published):
    """docs/names.md: for the same key the hook serves it at once, and no record has to change."""
    host = mail["mx2"]
    another_name(stage, lab, ADDED, host)
    before = host.served()
    said = host.certonly(lab["acme"]["directory"], "--reuse-key", "--domain", ADDED)
    assert said.code == 0 and "serves the renewed certificate" in said.text
    after = host.served()
    assert after.serial != before.serial and after.spki == before.spki
    names = host.run("openssl", "x509", "-noout", "-ext", "subjectAltName", "-in", CHAIN).text
    assert set(re.findall(r"DNS:([^\s,]+)", names)) == {host.host.name, ADDED}
    assert published(host.host.name) == {f"3 1 1 {after.spki}"}


def another_name(stage, lab, name, host):
    """Let one more name lead to a host, for everybody."""
    message = zone.update(hosts.ZONE)
    message.add(f"{name}.", hosts.TTL, "A", host.host.ipv4)
    message.add(f"{name}.", hosts.TTL, "AAAA", host.host.ipv6)
    zone.send(message)

    def everywhere():
        answers = [zone.ask(server.ipv4, f"{name}.", "AAAA") for server in hosts.NAMESERVERS]
        return all(answer is not None and answer.answer for answer in answers)
    stage.wait_for(everywhere, 30, f"{name} on every server")
    # A resolver that was asked for a neighbour may believe for a while that there is no such name.
    stage.wait_for(lambda: all(zone.authenticated(lab["resolver"]["ipv4"], f"{name}.", kind) for kind in ("A", "AAAA")), 30,
                   f"{name} at the resolver")


def test_a_rekey_after_that_and_a_renewal_while_it_waits(mail, play, stage, records, published, windows, story):
    """mx1 has a key of somebody's making beside the one that it serves; certbot's timer comes to mx2 meanwhile."""
    time.sleep(AFTER)
    windows["renewals"].append(time.time())
    windows["rekey"] = [time.time()]
    time.sleep(BEFORE)
    one, two = mail["mx1"], mail["mx2"]
    before = {short: host.served() for short, host in mail.items()}
    story["old"] = before["mx1"].spki
    assert one.run("cp", "-p", CHAIN, BACKUP).code == 0
    with ThreadPoolExecutor() as pool:
        running = pool.submit(play, "rekey")
        stage.wait_for(lambda: running.done() or two_records_at(records, two), 400, "a second record of mx2")
        said = two.renew()
        meanwhile, waiting = two.served(), not running.done()
        running.result()
    assert waiting and said.code == 0
    assert said.text.count("serves the renewed certificate") == 1
    assert said.text.count("has another key than the one that is served: nothing to do before a rekey") == 1
    assert meanwhile.spki == before["mx2"].spki and meanwhile.serial != before["mx2"].serial
    for short, host in mail.items():
        after = host.served()
        assert after.spki != before[short].spki
        assert published(host.host.name) == {f"3 1 1 {after.spki}"}
        assert host.ledger()["operation"] is None
        assert host.gate("look").code == 0
        assert refusals(host) == []
    reuse = one.run("grep", "-h", "reuse_key", "-r", "/etc/letsencrypt/renewal").text.splitlines()
    assert len(reuse) == 2 and set(reuse) == {"reuse_key = True"}
    time.sleep(AFTER)
    windows["rekey"].append(time.time())


def drop_in():
    """Path and text of the systemd drop-in of docs/gate.md."""
    document = DOCUMENT.read_text(encoding="utf-8")
    ((text, path),) = re.findall(r"^```ini\n(# (/etc/systemd/system/\S+)\n.*?)^```$", document, re.M | re.S)
    return path, text


def test_a_backup_that_brings_the_old_key_back(mail, published, story):
    """The old key's record is gone. Postfix does not start with it, where the drop-in of docs/gate.md stands before it."""
    host = mail["mx1"]
    path, text = drop_in()
    assert SERVICE in path
    assert host.run("mkdir", "-p", path.rpartition("/")[0]).code == 0
    assert host.run("sh", "-c", f"printf %s {shlex.quote(text)} > {path} && systemctl daemon-reload").code == 0
    before = host.untouched()
    assert host.run("systemctl", "restart", SERVICE).code == 0, "with the right key it starts"
    assert host.run("systemctl", "stop", SERVICE).code == 0
    assert host.run("sh", "-c", f"cp -p {CHAIN} {CHAIN}.right && mv {BACKUP} {CHAIN}").code == 0
    checked = host.gate("check")
    started, running = host.run("systemctl", "start", SERVICE), host.run("postfix", "status")
    assert host.run("mv", f"{CHAIN}.right", CHAIN).code == 0
    mended, again = host.gate("check"), host.run("systemctl", "start", SERVICE)
    why = f"Cannot present '{CHAIN}': its key {story['old'][:16]} was retired on this host, and its record may be gone"
    assert checked.code == 1 and why in checked.text
    assert started.code != 0 and running.code != 0
    assert why in host.run("journalctl", "-u", SERVICE, "-o", "cat").text
    assert mended.code == 0 and f"holds key {before[1].spki[:16]}" in mended.text
    assert again.code == 0 and ready.smtp_problem(host.host) is None
    assert host.untouched() == before
    assert published(host.host.name) == {f"3 1 1 {before[1].spki}"}


def test_renewals_after_the_rekey(mail):
    """The lineage of the key that was served before is renewed too, and stays where it is."""
    for host in mail.values():
        before = host.served()
        said = host.renew()
        assert said.code == 0
        assert said.text.count("serves the renewed certificate") == 1
        assert said.text.count("nothing to do before a rekey") == 1
        assert host.served().serial != before.serial and host.served().spki == before.spki


def test_a_postfix_that_does_not_run(mail):
    host = mail["mx2"]
    before = host.untouched()
    assert host.run("systemctl", "stop", SERVICE).code == 0
    said = " ".join(host.renew().text.split())
    file = host.run("sha256sum", CHAIN).text
    assert host.run("systemctl", "start", SERVICE).code == 0
    assert "Hook 'deploy-hook' reported error code 1" in said
    assert "Cannot deploy: postfix is not running; nothing was changed. Start it" in said
    assert file == before[0] and host.untouched() == before
    completed_by_a_look(host, before[1])


@pytest.mark.parametrize("name", ["renewals", "rekey"])
def test_no_delivery_failed_and_no_cache_could_have_seen_a_mismatch(stage, windows, name):
    start, end = windows[name]
    verdict = stage.judge(start, expect_new_keys=name == "rekey", end=end, suffix=f"-{name}")
    assert (verdict["outcome"], verdict["reasons"], verdict["void"]) == ("PASS", [], [])
    assert (verdict["failed"], verdict["exposure"]) == (0, 0.0)
    assert verdict["verified"] > 100
    switches = Counter(switch["host"] for switch in verdict["switches"])
    # mx1: certbot, the look, the other CA. mx2: certbot, by the ledger, the other CA, after two hooks that were killed and
    # two full disks, and the name: how often can be said of the others alone, as for a while some processes had the one
    # chain and some the other. Then mx2: its renewal during the wait, the rekey, and the look after it, as certbot had
    # renewed the certificate of the next key too.
    assert switches["mx1"] == {"renewals": 3, "rekey": 1}[name]
    assert switches["mx2"] >= 8 if name == "renewals" else switches["mx2"] == 3
