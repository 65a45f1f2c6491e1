# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ``dane-gate`` tells when nobody watches: a program takes the place of sendmail, files and processes are real."""

from __future__ import annotations

import email
import email.policy
import json
import os
import re
import stat
import time

import pki
import pytest
from ansible_collections.mailops.dane.plugins.module_utils import _gate, _host, _notify
from ansible_collections.mailops.dane.plugins.module_utils._errors import (
    ChainError, DaneError, DeployError, DnsError, LedgerError, RefusedError)
from ansible_collections.mailops.dane.plugins.module_utils._ledger import Operation
from rollover_values import OWNER, look
from test__host import DAY, FILE_A, ISSUER, LEAF_A, NAME, V_A, Host, leaf, three_one_one, unreachable

FAKE = r"""#!/bin/sh
cd '{}'
number=$(ls | grep -c '^mail-')
printf '%s|' "$@" > "arguments-$number"
cat > "mail-$number"
echo 'mail system says: no,'
echo 'not today'
exit $(cat status)
"""


class TellingHost(Host):
    """A host of which people hear."""

    def __init__(self, directory, monkeypatch):
        super().__init__(directory, monkeypatch)
        self.outbox, self.metrics_file = directory / "outbox", directory / "collector" / "mailops_dane.prom"
        for made in (self.outbox, self.metrics_file.parent):
            made.mkdir()
        program = directory / "sendmail"
        program.write_text(FAKE.format(self.outbox))
        program.chmod(0o755)
        self.sendmail_ends_with(0)
        monkeypatch.setattr(_notify, "SENDMAIL", str(program))
        self.unit["notify"] = {"to": ["root", "dane@example.test"], "metrics_file": str(self.metrics_file), "host": "mx1"}
        self.unit["key_lifetime"] = 365 * DAY

    def sendmail_ends_with(self, status):
        (self.outbox / "status").write_text(f"{status}\n")

    def configure(self, **notify):
        """Other settings of notify, from now on."""
        self.unit["notify"].update(notify)
        self.config.unlink(missing_ok=True)

    @property
    def mails(self):
        """What the program was given, as messages."""
        return [email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
                for path in sorted(self.outbox.glob("mail-*"))]

    def metrics(self):
        """The samples in the file: {"name{labels}": value}."""
        lines = self.metrics_file.read_text().splitlines()
        assert all(re.fullmatch(r'(# (HELP|TYPE) mailops_dane_\w+ .+|mailops_dane_\w+(\{\w+="[^"]*"\})? \d+)', line)
                   for line in lines)
        samples = [line.rpartition(" ") for line in lines if not line.startswith("#")]
        assert len(samples) == len({name for name, _space, _value in samples})
        return {name.replace("mailops_dane_", "").replace("_timestamp_seconds", ""): int(value)
                for name, _space, value in samples}

    def refusals(self):
        """The reasons whose sample is 1."""
        found = {name: value for name, value in self.metrics().items() if name.startswith("refused{")}
        assert {re.fullmatch(r'refused\{reason="(\w+)"\}', name).group(1) for name in found} == set(_notify.REASONS)
        return {name[16:-2] for name, value in found.items() if value}


@pytest.fixture(name="host")
def fixture_host(tmp_path, monkeypatch):
    return TellingHost(tmp_path, monkeypatch)


@pytest.fixture(name="hook")
def fixture_hook(host, capsys, monkeypatch):
    """``hook()``: what certbot calls for the first lineage: (exit status, what it said)."""
    return lambda number=0: host.hook(capsys, monkeypatch, number)


@pytest.fixture(name="gate")
def fixture_gate(host, capsys):
    return lambda *arguments: host.gate(capsys, *arguments)


# --------------------------------------------------------------------------------------------------------------- mail


def test_a_refusal_is_mailed_with_all_that_one_has_to_know(host, hook):
    host.lineage(0, "B")
    code, said = hook()
    assert code == 1
    (message,) = host.mails
    assert (host.outbox / "arguments-0").read_text() == "-i|--|root|dane@example.test|"
    assert message["To"] == "root, dane@example.test" and message["Auto-Submitted"] == "auto-generated"
    assert message["Subject"] == "mx1: dane-gate renew refused (key)"
    assert message.get_content_type() == "text/plain"
    text = message.get_content()
    words = " ".join(text.split())
    reason = said.removeprefix("dane-gate: ").strip()
    assert reason.startswith("Cannot renew: no lineage has key") and reason in words
    until = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(int(pki.NOW) + 90 * DAY))
    assert (f"Meanwhile {host.chain_file} is served, with key {three_one_one('A').data[:16]}. Its certificate lasts until "
            f"{until}, 90 days from now.") in words
    assert "\n    ansible-playbook mailops.dane.rekey -l mx1\n" in text and "\n    dane-gate look\n" in text
    assert max(map(len, text.splitlines())) < 200
    for key in ("A", "B"):
        assert not any(line in text for line in pki.key_pem(pki.key(key)).splitlines() if len(line) > 20)


def test_one_mail_per_reason_and_day(host, hook, gate, monkeypatch):
    host.lineage(0, "B")
    assert [hook()[0], hook()[0], gate("look")[0]] == [1, 1, 1]
    assert len(host.mails) == 1
    # Another reason on the same day.
    host.lineage(0, "A", names=("other.example.test",))
    assert hook()[0] == 1 and hook()[0] == 1
    assert [message["Subject"].rpartition(" ")[2] for message in host.mails] == ["(key)", "(certificate)"]
    now = time.time()
    monkeypatch.setattr(_host.time, "time", lambda: now + DAY)
    host.dns = lambda: [look(now + DAY, V_A)]
    host.lineage(0, "B")
    assert hook()[0] == 1 and hook()[0] == 1
    assert len(host.mails) == 3


def test_no_mail_of_what_went_well_or_is_nobody_s_business(host, hook, gate, monkeypatch):
    assert hook()[0] == gate("look")[0] == 0
    monkeypatch.setenv("RENEWED_LINEAGE", "/etc/letsencrypt/live/of.somebody.else")
    assert gate("renew")[0] == 0 and gate("status")[0] == 0
    host.chain_file.write_text("nonsense")
    assert gate("check")[0] == 1 and gate("why", "00000000")[0] == 1
    assert host.mails == []


def test_whoever_wants_no_mail_gets_none(host, hook):
    host.configure(to=[])
    host.lineage(0, "B")
    assert hook()[0] == 1
    assert host.mails == [] and host.refusals() == {"key"}


def test_a_unit_that_says_nothing_about_it_tells_nobody(host, hook):
    del host.unit["notify"]
    host.lineage(0, "B")
    before = set(host.state.iterdir())
    assert hook()[0] == 1
    assert host.mails == [] and not host.metrics_file.exists()
    assert {path.name for path in set(host.state.iterdir()) - before} <= {"ledger.json.lock", "renew.lock"}


def test_a_mail_that_does_not_go_is_said_and_sent_at_the_next_try(host, hook):
    host.lineage(0, "B")
    host.sendmail_ends_with(75)
    code, said = hook()
    assert code == 1
    assert said.count("Cannot renew: no lineage has key") == 1
    assert (f"dane-gate: Cannot send mail to root, dane@example.test: {host.directory}/sendmail ended with 75: mail system "
            "says: no, not today\n") in said
    host.sendmail_ends_with(0)
    assert "Cannot send mail" not in hook()[1] and "Cannot send mail" not in hook()[1]
    assert len(host.mails) == 2


def test_a_host_without_sendmail(host, hook):
    host.lineage(0, "B")
    (host.directory / "sendmail").unlink()
    code, said = hook()
    assert code == 1 and "dane-gate: Cannot send mail to root" in said and "No such file" in said
    assert host.refusals() == {"key"}


def test_a_mail_system_that_hangs(host, hook, monkeypatch):
    monkeypatch.setattr(_notify, "SENDMAIL_SECONDS", 0.2)
    (host.directory / "sendmail").write_text("#!/bin/sh\nexec sleep 30\n")
    host.lineage(0, "B")
    code, said = hook()
    assert code == 1 and "dane-gate: Cannot send mail to root" in said and "timed out" in said


def test_notes_that_cannot_be_kept_keep_no_mail_back(host, hook):
    (host.state / _notify.NOTES).mkdir()
    host.lineage(0, "B")
    code, said = hook()
    assert code == 1 and _notify.NOTES in said and "there may be more than one mail today" in said
    assert len(host.mails) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", '{"mailed": 7}', '{"mailed": {"key": 1}, "refused": ["x"]}', "\x00"])
def test_notes_that_cannot_be_read_are_none(host, hook, text):
    (host.state / _notify.NOTES).write_text(text)
    host.lineage(0, "B")
    assert hook()[0] == 1
    assert len(host.mails) == 1 and host.refusals() == {"key"}


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"names": ["mx1"]}'])
def test_root_hears_of_a_configuration_that_cannot_be_used(host, gate, text):
    host.config.write_text(text or "")
    if text is None:
        host.unit["notify"]["to"] = ["-t"]
        host.config.write_text(json.dumps(host.unit))
    code, said = gate("look")
    assert code == 1 and str(host.config) in said
    (message,) = host.mails
    assert message["To"] == "root" and "(configuration)" in message["Subject"]
    assert "ansible-playbook mailops.dane.enable" in message.get_content()
    assert "What is served meanwhile cannot be told" in " ".join(message.get_content().split())


def test_a_configuration_of_which_only_another_part_cannot_be_used_still_says_who_is_to_hear(host, gate):
    host.unit["notify"]["to"] = []
    host.unit["timing"] = {"factor": 0}
    assert gate("look")[0] == 1
    assert host.mails == [] and host.refusals() == {"configuration"}


def test_a_certificate_that_has_ended_meanwhile(host, hook):
    old = leaf("A", start=-90 * DAY, end=-DAY)
    host.chain_file.write_text(old.key_pem + old.pem + ISSUER.pem)
    host.lineage(0, "B")
    hook()
    assert "Its certificate ENDED at " in " ".join(host.mails[0].get_content().split())


def test_an_old_chain_that_could_not_be_put_back_is_not_said_to_be_served(host, hook, monkeypatch):
    def broken(*_arguments, **_options):
        raise DeployError("Cannot deploy: the reload failed; and the old chain file could not be put back", restored=False)
    monkeypatch.setattr(_gate, "deploy", broken)
    assert hook()[0] == 1
    words = " ".join(host.mails[0].get_content().split())
    assert "(deploy)" in host.mails[0]["Subject"] and "the old chain file is not back" in words
    assert "is served, with key" not in words


def test_a_fault_of_ours_is_told_by_its_name_alone(host, hook, monkeypatch):
    def broken(*_arguments, **_options):
        raise ZeroDivisionError("whatever it may hold")
    monkeypatch.setattr(_gate, "deploy", broken)
    with pytest.raises(ZeroDivisionError):
        hook()
    (message,) = host.mails
    assert "(other)" in message["Subject"] and "ZeroDivisionError" in message.get_content()
    assert "whatever it may hold" not in message.get_content()


def test_a_fault_in_telling_changes_nothing(host, hook, monkeypatch):
    def broken(*_arguments):
        raise ZeroDivisionError("no words")
    monkeypatch.setattr(_notify, "tell", broken)
    renewed = host.lineage(0, "A")
    code, said = hook()
    assert code == 0 and renewed.pem in host.presents
    assert "dane-gate: Cannot tell anybody: ZeroDivisionError: no words\n" in said


def test_file_names_in_other_tongues(host, hook, monkeypatch):
    def broken(*_arguments, **_options):
        raise ChainError("Cannot read '/etc/Schlüssel/\udcff'")
    monkeypatch.setattr(_gate, "deploy", broken)
    monkeypatch.setattr(_host, "say", lambda *_arguments: None)
    hook()
    assert "/etc/Schlüssel/\\udcff" in host.mails[0].get_content()


@pytest.mark.parametrize(("failure", "reason"), [
    (ChainError("x"), "certificate"), (DnsError("x"), "dns"), (LedgerError("x"), "ledger"), (DeployError("x"), "deploy"),
    (DaneError("x", reason="configuration"), "configuration"), (DaneError("x", reason="stale"), "stale"),
    (DaneError("x"), "other"), (OSError(28, "full"), "other"),
    (ValueError("x"), "other"), (RefusedError("x"), "other"), (RefusedError("x", reason="key"), "key"),
    (RefusedError("x", silent=["y"]), "endpoint"), (RefusedError("x", objections=["y"]), "service"),
    (RefusedError("x", answer={"reasons": [{"code": "not-secure"}]}), "unknown"),
    (RefusedError("x", answer={"reasons": [{"code": "not-secure"}, {"code": "version-unmatched"}]}), "unmatched"),
])
def test_every_failure_is_of_some_class(failure, reason):
    assert _notify.reason_of(failure) == reason and reason in _notify.REASONS


# ------------------------------------------------------------------------------------------------------------ metrics


def test_the_metrics_of_a_good_run(host, hook):
    renewed = host.lineage(0, "A", end=70 * DAY)
    ledger = host.ledger
    began = time.time() - 5 * DAY
    (host.state / "ledger.json").write_text(json.dumps(
        ledger._replace(operation=Operation("1", "rekey", three_one_one("B").data, began)).to_dict()))
    before = int(time.time())
    assert hook()[0] == 0 and renewed.pem in host.presents
    samples, now = host.metrics(), time.time()
    assert host.refusals() == set()
    named = '{name="' + OWNER + '"}'
    for name in ("last_run", "last_look" + named, "last_evidence" + named, "ledger_written"):
        assert before - 1 <= samples[name] <= now + 1, name
    assert samples["certificate_not_after"] == int(pki.NOW) + 70 * DAY
    assert samples["key_due"] == int(pki.NOW) - DAY + 365 * DAY
    assert samples['operation_started{kind="rekey"}'] == round(began)
    assert len(samples) == 7 + len(_notify.REASONS)
    assert stat.S_IMODE(host.metrics_file.stat().st_mode) == 0o644
    assert os.listdir(host.metrics_file.parent) == [host.metrics_file.name]


def test_an_alert_ends_when_what_was_refused_is_served(host, hook, gate):
    host.lineage(0, "B")
    hook()
    assert host.refusals() == {"key"}
    # Of other lineages the hook has nothing to say, and does not make it good.
    host.lineage(1, "C")
    os.environ["RENEWED_LINEAGE"] = "/etc/letsencrypt/live/of.somebody.else"
    assert gate("renew")[0] == 0
    assert host.refusals() == {"key"}
    host.lineage(0, "A")
    assert hook()[0] == 0
    assert host.refusals() == set()
    assert 'operation_started{kind="rekey"}' not in host.metrics()


def test_a_look_that_sees_nothing_is_no_look(host, gate):
    host.remember(DAY)
    ledger, heard = host.ledger, time.time() - 3 * DAY
    (host.state / "ledger.json").write_text(json.dumps(
        ledger.with_name(ledger.name(OWNER)._replace(heard_at=heard)).to_dict()))
    host.dns = lambda: [{**look(time.time(), V_A), "security": "bogus"}]
    assert gate("look")[0] == 1
    assert host.refusals() == {"dns"}
    samples = host.metrics()
    assert abs(samples['last_evidence{name="' + OWNER + '"}'] - heard) < 100
    assert abs(samples['last_look{name="' + OWNER + '"}'] - heard - 2 * DAY) < 100


def test_what_is_not_known_is_left_out(host, gate):
    host.chain_file.write_text("nonsense")
    (host.state / "ledger.json").write_text("{")
    assert gate("renew")[0] == 1
    assert host.refusals() == {"certificate"}
    assert not [name for name in host.metrics() if not name.startswith(("refused", "last_run", "ledger_written", "last_"))]


def test_a_renewal_by_a_stale_ledger_is_told_though_it_is_served(host, hook):
    old = leaf("A", start=-85 * DAY, end=5 * DAY)
    host.chain_file.write_text(old.key_pem + old.pem + ISSUER.pem)
    host.presents = host.chain_file.read_text()
    host.remember(30 * DAY)
    host.dns = unreachable
    assert hook()[0] == 1 and host.reloads == 1
    (message,) = host.mails
    words = " ".join(message.get_content().split())
    assert message["Subject"] == "mx1: dane-gate renew failed (stale)"
    assert "postfix serves the renewed certificate of key" in words and "but the ledger is stale" in words
    assert "Its certificate lasts until" in words and "ansible-playbook mailops.dane.renew -l mx1" in words
    assert host.refusals() == {"stale"}
    host.dns = lambda: [look(time.time(), V_A)]
    assert hook()[0] == 0 and host.refusals() == set() and len(host.mails) == 1


def test_without_the_directory_of_the_collector(host, hook):
    host.configure(metrics_file=str(host.directory / "nowhere" / "x.prom"))
    host.lineage(0, "A")
    code, said = hook()
    assert code == 0 and "there is no directory" in said and not (host.directory / "nowhere").exists()


def test_a_metrics_file_that_cannot_be_replaced(host, hook):
    host.metrics_file.mkdir()
    host.lineage(0, "A")
    code, said = hook()
    assert code == 0 and "dane-gate: Cannot write" in said and str(host.metrics_file) in said


def test_no_metrics_where_none_are_wanted(host, hook):
    host.configure(metrics_file="")
    assert hook()[0] == 0
    assert not host.metrics_file.exists()


def test_labels_are_escaped():
    assert _notify._label("kind", 'a"b\\c\nd') == '{kind="a\\"b\\\\c\\nd"}'


# ------------------------------------------------------------------------------------------------------------ options


@pytest.mark.parametrize("recipients", [[], ["root"], ["root", "postmaster+dane@mx1.example.test"]])
@pytest.mark.parametrize("metrics_file", ["", "/var/lib/prometheus/node-exporter/mailops_dane.prom"])
def test_options_that_will_do(recipients, metrics_file):
    assert _notify.impossible_notifications(recipients, metrics_file) == []


@pytest.mark.parametrize("recipients", ["root", None, 7, {"a": "b"}, ["-oQ/tmp"], [""], ["a b"], ["a\nBcc: c"], [7], ["ü"]])
def test_recipients_that_are_none(recipients):
    (found,) = _notify.impossible_notifications(recipients, "")
    assert found.startswith("dane_notify: Cannot send mail to ") and "expected a list of mail addresses" in found


@pytest.mark.parametrize("path", [None, 7, "relative.prom", "/var/lib/x.txt", "/var/lib/", "/a\n.prom", "/a\0.prom"])
def test_files_that_node_exporter_would_not_read(path):
    (found,) = _notify.impossible_notifications([], path)
    assert found.startswith("dane_metrics_file: Cannot write metrics to ") and ".prom" in found


@pytest.mark.parametrize("given", [
    7, {"to": "root"}, {"to": [7]}, {"metrics_file": 7}, {"metrics_file": "x"}, {"host": 7}, {"host": "a\nBcc: b"}])
def test_a_unit_edited_by_hand(host, gate, given):
    host.unit["notify"] = given
    code, said = gate("renew")
    assert code == 1 and "Cannot use" in said and "run enable.yml again" in said
    assert host.presents == FILE_A and LEAF_A.pem in FILE_A and len(host.mails) == 1


def test_the_host_is_called_as_the_inventory_calls_it(host):
    assert _notify.Settings.of(host.unit).host == "mx1"
    del host.unit["notify"]["host"]
    assert _notify.Settings.of(host.unit).host == NAME
