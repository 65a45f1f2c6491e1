# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The door on the mail host: a host whose daemon, files and clock are simulated, and everything that can go wrong."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import threading
import time

import pki
import pytest
from ansible_collections.mailops.dane.plugins.module_utils import _chain, _gate
from ansible_collections.mailops.dane.plugins.module_utils._errors import (
    ChainError,
    DaneError,
    DeployError,
    LedgerError,
    ProbeError,
    RefusedError,
)
from ansible_collections.mailops.dane.plugins.module_utils._ledger import Clock, Ledger
from ansible_collections.mailops.dane.plugins.module_utils._memory import Name
from rollover_values import OWNER, TIMING, endpoint, look, version

NAME = "mx1.example.test"
CA = pki.root("Root of the gate")


def content(key, certificate=1, ca=CA):
    """A chain file: key, leaf, issuer."""
    leaf = _leaf(key, certificate, ca)
    return leaf.key_pem + leaf.pem + ca.pem


MADE = {}


def _leaf(key, certificate, ca):
    if (key, certificate, ca.der) not in MADE:
        MADE[key, certificate, ca.der] = pki.leaf(ca, names=(NAME,), private=pki.key(key))
    return MADE[key, certificate, ca.der]


def described(text):
    """The chain JSON of a chain file."""
    return _chain.describe(_chain.load_certificates(text, "a file"), [NAME], pki.NOW)


FILE_A, FILE_B, FILE_A2 = content("A"), content("B"), content("A", certificate=2)
A, B = described(FILE_A), described(FILE_B)


def records(*chains, combination="3 1 1"):
    """The records of some chains in one combination."""
    return [_gate.Record.parse(text) for chain in chains for text in chain["matches"] if text.startswith(combination)]


V_A, V_AB, V_B = version(*records(A)), version(*records(A, B)), version(*records(B))


class Crash(BaseException):
    """The machine stops here."""


class Host:
    """A mail host: files are real, the daemon presents what was in the file when it was last reloaded."""

    def __init__(self, directory, monkeypatch, file=FILE_A, candidate=FILE_B):
        # The computer runs as long as the wall clock says; tests of jumps say otherwise.
        monkeypatch.setattr(_gate, "read_clock", lambda clock: Clock(clock(), "boot", clock()))
        self.directory = directory
        self.dest, self.candidate = str(directory / "chain.pem"), str(directory / "candidate.pem")
        self.ledger_path = str(directory / "state" / "ledger.json")
        for path, text in ((self.dest, file), (self.candidate, candidate)):
            if text is not None:
                with open(path, "w", encoding="ascii") as stream:
                    stream.write(text)
        self.presents = file
        self.now = float(pki.NOW)
        self.steps, self.crash_at = [], None
        self.codes = {}
        self.objections = []
        self.answers = None
        self.versions = (V_AB,)
        self.looks = 0
        replace = _gate._replace_file

        def replacing(path, *rest):
            self.step(f"before writing {os.path.basename(path)}")
            replace(path, *rest)
            self.step(f"wrote {os.path.basename(path)}")

        monkeypatch.setattr(_gate, "_replace_file", replacing)

    def step(self, what):
        self.steps.append(what)
        if self.crash_at is not None and len(self.steps) == self.crash_at:
            raise Crash(what)

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds

    def run(self, command):
        self.step(f"before {command[0]}")
        code = self.codes.get(command[0], 0)
        if isinstance(code, list):
            code = code.pop(0) if code else 0
        if command[0] == "reload" and not code:
            self.presents = self.read()
        self.step(f"did {command[0]}")
        return code, "what it says"

    def look(self, endpoints, handshakes=1):
        self.looks += 1
        self.step("before handshakes")
        answers = self.answers(self.presents) if self.answers else [self.presents]
        found = [self._outcome(one, answer) for one in endpoints for answer in answers]
        self.step("did handshakes")
        return found

    def _outcome(self, where, answer):
        told = {"endpoint": where, "at": self.now, "detail": "", "chain": None, "outcome": answer}
        if where["algorithm"] == "rsa" and str(answer).startswith("-----"):
            told["outcome"] = "no-chain-for-algorithm"
        elif answer is None or str(answer).startswith("-----"):
            told.update({"outcome": "chain", "chain": described(answer)} if answer else {"outcome": "silent"})
        return told

    def read(self, path=None):
        with open(path or self.dest, encoding="ascii") as stream:
            return stream.read()

    def remember(self, versions=None, **more):
        """Give the host a ledger that knows what was before."""
        name = Name(OWNER).observe(look(self.now, *(versions or self.versions)), TIMING)
        self.save(Ledger(**more).with_name(name._replace(unknown_until=0.0)))
        return self

    def save(self, ledger):
        os.makedirs(os.path.dirname(self.ledger_path), exist_ok=True)
        with open(self.ledger_path, "w", encoding="ascii") as stream:
            json.dump(ledger.to_dict(), stream)

    @property
    def ledger(self):
        with open(self.ledger_path, encoding="ascii") as stream:
            return Ledger.from_dict(json.load(stream))

    def unit(self, **more):
        daemon = _gate.Daemon("the daemon", ("check",), ("reload",), lambda dest, run: self.objections)
        endpoints = [endpoint(number, algorithm=algorithm) for number in (1, 2) for algorithm in ("ecdsa", "rsa")]
        return _gate.Deployment(**{
            "candidate": self.candidate, "dest": self.dest, "looks": [look(self.now, *self.versions)],
            "endpoints": endpoints, "daemon": daemon, "timing": TIMING, "ledger_path": self.ledger_path,
            "handshake_timeout": 3, **more})

    def deploy(self, write=True, **more):
        return _gate.deploy(self.unit(**more), write, self.clock, self.sleep, self.run, self.look)

    def snapshot(self):
        """Every file below the host's directory with its content, mode and time of change."""
        return {
            os.path.join(folder, name): (open(os.path.join(folder, name), "rb").read(),  # noqa: SIM115
                                         os.stat(os.path.join(folder, name)).st_mode,
                                         os.stat(os.path.join(folder, name)).st_mtime_ns)
            for folder, _folders, names in os.walk(self.directory) for name in [*names, "."]
            if name != "."} | {folder: None for folder, _folders, _names in os.walk(self.directory)}


@pytest.fixture(name="host")
def fixture_host(tmp_path, monkeypatch):
    """A host that serves A, holds B ready, and whose RRset matches both."""
    return Host(tmp_path, monkeypatch).remember()


def keys(ledger):
    return {seen.chain.spki: seen.gone_since for seen in ledger.chains.chains}


# ------------------------------------------------------------------------------------------------------- the good way


def test_a_deployment(host):
    result = host.deploy(expected_spki=B["spki"])
    assert result["changed"] and result["chain"] == B and result["before"] == [A["spki"]]
    assert result["answer"]["verdict"] == "yes"
    assert {one["chain"]["spki"] for one in result["outcomes"] if one["chain"]} == {B["spki"]}
    assert host.read() == FILE_B == host.presents and host.read(host.dest + ".previous") == FILE_A
    assert keys(host.ledger) == {A["spki"]: host.now, B["spki"]: None}
    assert host.ledger.retired == {A["spki"]}


def test_the_intent_is_on_disk_before_the_file_is_replaced(host):
    noted = []

    def step(what):
        if what == "before writing chain.pem":
            noted.append(B["spki"] in keys(host.ledger))
    host.step = step
    host.deploy()
    assert noted == [True]


def test_a_second_deployment_changes_nothing(host):
    host.deploy()
    before = host.snapshot()
    host.steps.clear()
    result = host.deploy()
    assert not result["changed"] and result["answer"] is None
    assert "before reload" not in host.steps
    after = host.snapshot()
    assert {name for name in after if before[name] != after[name]} <= {host.ledger_path}


def test_files_with_a_key_are_private_and_keep_their_owner(host):
    os.chmod(host.dest, 0o644)
    host.deploy()
    for path in (host.dest, host.dest + ".previous"):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert os.stat(path).st_uid == os.stat(host.candidate).st_uid
    assert stat.S_IMODE(os.stat(host.ledger_path).st_mode) == 0o644
    assert "PRIVATE" not in host.read(host.ledger_path)


def test_the_file_is_never_readable_by_others_not_even_for_a_moment(host, monkeypatch):
    seen = []
    monkeypatch.setattr(os, "replace", lambda source, dest, replace=os.replace: (
        seen.append((os.path.basename(dest), stat.S_IMODE(os.stat(source).st_mode))), replace(source, dest)))
    host.deploy()
    assert ("chain.pem", 0o600) in seen and ("chain.pem.previous", 0o600) in seen


def test_a_new_file_goes_where_there_was_none(tmp_path, monkeypatch):
    host = Host(tmp_path, monkeypatch, file=None)
    host.presents = FILE_A
    host.remember()
    assert host.deploy()["changed"]
    assert host.read() == FILE_B and not os.path.exists(host.dest + ".previous")


def test_without_an_operation_no_key_is_retired(host):
    host.deploy()
    assert host.ledger.retired == frozenset()


def test_a_renewal_retires_no_key(tmp_path, monkeypatch):
    host = Host(tmp_path, monkeypatch, candidate=FILE_A2).remember([V_A])
    host.versions = (V_A,)
    host.deploy(expected_spki=A["spki"])
    assert host.presents == FILE_A2 and host.ledger.retired == frozenset()


# --------------------------------------------------------------------------------------------- a name that is shared

FILE_C = content("C")
C = described(FILE_C)


def sharing(host, other=FILE_C):
    """The second address of the name is another host's, with a key of its own."""
    def look(endpoints, handshakes=1):
        return [host._outcome(where, host.presents if where["address"] == endpoint(1)["address"] else other)
                for where in endpoints]
    host.look = look
    host.versions = (version(*records(A, B, C)),)
    return host.remember()


def test_hosts_that_share_a_name_deploy_each_its_own(host):
    result = sharing(host).deploy(expected_spki=B["spki"])
    assert result["changed"] and host.presents == FILE_B
    assert set(result["before"]) == {A["spki"], C["spki"]}
    assert keys(host.ledger) == {A["spki"]: host.now, B["spki"]: None, C["spki"]: None}
    assert host.ledger.retired == {A["spki"]}
    assert not host.deploy(expected_spki=B["spki"])["changed"]


def test_a_run_that_died_is_completed_beside_another_host(host):
    sharing(host)
    for path, text in ((host.dest, FILE_B), (host.dest + ".previous", FILE_A)):
        with open(path, "w", encoding="ascii") as stream:
            stream.write(text)
    assert host.deploy()["changed"] and host.presents == FILE_B


def test_what_another_host_presents_is_no_measure_for_this_one(host):
    """Its chain matches a stale record, ours never did."""
    sharing(host).versions = (version(*records(C)),)
    host.remember()
    assert host.deploy()["answer"]["verdict"] == "no worse"


def test_the_own_endpoints_have_to_follow(host):
    sharing(host)
    host.codes["reload"] = 0
    host.run = lambda command: (0, "and does nothing")
    message = put_back(host)
    assert "not every endpoint" in message and endpoint(2)["address"] not in message


def test_where_nobody_presents_the_file_every_endpoint_has_to_follow(host):
    with open(host.dest, "w", encoding="ascii") as stream:
        stream.write(content("D"))
    sharing(host)
    with pytest.raises(DeployError, match=endpoint(2)["address"]):
        host.deploy()


@pytest.mark.parametrize("other", [FILE_A, FILE_C])
def test_hosts_that_began_with_copies_of_one_key_deploy_each_its_own(host, monkeypatch, other):
    """By what is presented they cannot be told apart, by the address that this host has they can."""
    sharing(host, other)
    monkeypatch.setattr(_gate, "_is_here", lambda address: address == endpoint(1)["address"])
    assert host.deploy(expected_spki=B["spki"])["changed"] and host.presents == FILE_B
    assert not host.deploy(expected_spki=B["spki"])["changed"]


@pytest.mark.parametrize("here", [(), (1, 2)])
def test_where_the_addresses_tell_nothing_every_endpoint_has_to_follow(host, monkeypatch, here):
    """A translated address, or a kernel that lets anybody use any."""
    sharing(host, FILE_A)
    monkeypatch.setattr(_gate, "_is_here", lambda address: address in [endpoint(number)["address"] for number in here])
    with pytest.raises(DeployError, match=endpoint(2)["address"]):
        host.deploy()


def test_an_own_address_that_does_not_follow_is_no_other_hosts(host, monkeypatch):
    sharing(host, FILE_A)
    monkeypatch.setattr(_gate, "_is_here", lambda address: address == endpoint(1)["address"])
    host.run = lambda command: (0, "and does nothing")
    assert endpoint(1)["address"] in put_back(host)


@pytest.mark.parametrize(("address", "here"), [
    ("127.0.0.1", True), ("::1", True), ("192.0.2.1", False), ("2001:db8::1", False)])
def test_which_addresses_a_host_has(address, here):
    assert _gate._is_here(address) is here


# ---------------------------------------------------------------------------------------------------------- refusals


def refused(host, error=RefusedError, **more):
    files = {path: host.read(path) for path in (host.dest, host.candidate) if os.path.exists(path)}
    with pytest.raises(error) as caught:
        host.deploy(**more)
    assert {path: host.read(path) for path in files} == files
    assert "before reload" not in host.steps and not os.path.exists(host.dest + ".previous")
    return caught.value


def test_a_chain_that_a_served_version_does_not_match_is_refused(host):
    host.versions = (V_AB, V_A)
    error = refused(host)
    assert error.fields["answer"]["safe_at"] is None and "192.0.2.2" in error.message


def test_a_chain_that_a_cached_version_does_not_match_is_refused(host):
    host.remember([V_A])
    error = refused(host)
    assert error.fields["answer"]["safe_at"] == host.now + TIMING.lifetime(10)


def test_a_refusal_keeps_what_was_seen_so_that_the_wait_can_end(host):
    host.remember([V_A])
    refused(host)
    host.now += 15
    refused(host)
    host.now += 6
    assert host.deploy()["changed"]


def test_a_lost_ledger_makes_the_history_unknown_and_the_wait_ends_too(tmp_path, monkeypatch):
    host = Host(tmp_path, monkeypatch)
    error = refused(host)
    assert error.fields["answer"]["reasons"][0]["code"] == "history-unknown"
    host.now = error.fields["answer"]["safe_at"]
    assert host.deploy()["changed"]


def test_an_intent_of_the_other_door_is_heeded(host):
    """Somebody is about to withdraw the record of B."""
    _gate.note(host.ledger_path, TIMING, intents={OWNER: [version(*records(A), path=()).to_dict()]}, clock=host.clock)
    assert refused(host, looks=[look(host.now, V_AB, "silent")]).fields["answer"]["reasons"]


def test_no_looks_and_no_endpoints_are_refused(host):
    assert OWNER in refused(host, looks=[]).message
    assert "no endpoint" in refused(host, endpoints=[]).message
    other = {**endpoint(), "port": 465}
    assert "_465._tcp." + NAME in refused(host, endpoints=[endpoint(), other]).message


def test_an_old_look_is_refused(host):
    host.now += 120
    error = refused(host, looks=[look(host.now - 61, V_AB)])
    assert error.fields["answer"]["reasons"][0]["code"] == "view-stale"


def test_time_that_passes_between_question_and_deed_counts(host):
    def objections(dest, run):
        host.now += 61
        return []
    daemon = _gate.Daemon("the daemon", ("check",), ("reload",), objections)
    assert refused(host, daemon=daemon).fields["answer"]["reasons"][0]["code"] == "view-stale"


def test_a_retired_key_is_refused(host):
    host.remember(retired=frozenset([B["spki"]]))
    assert "retired" in refused(host).message


def test_another_key_than_that_of_the_operation_is_refused(host):
    assert A["spki"][:16] in refused(host, expected_spki=A["spki"]).message


def test_objections_of_the_daemon_are_refusals(host):
    host.objections = ["main.cf has something else"]
    assert refused(host).fields["objections"] == host.objections


def test_a_configuration_that_the_daemon_refuses(host):
    host.codes["check"] = 1
    error = refused(host, DeployError)
    assert "nothing was changed" in error.message and "what it says" in error.message


@pytest.mark.parametrize("file", [
    None, "", "nonsense", pki.key_pem(pki.key("B")), FILE_B.replace(pki.key_pem(pki.key("B")), ""),
    pki.key_pem(pki.key("A")) + FILE_B.partition("-----END PRIVATE KEY-----\n")[2],
    FILE_B[:-200],
])
def test_a_candidate_that_cannot_be_served(tmp_path, monkeypatch, file):
    host = Host(tmp_path, monkeypatch, candidate=file).remember()
    assert host.candidate in refused(host, ChainError).message


def test_nobody_answers_before_the_deployment(host):
    """An outage is mended, but only by a chain that suits everything."""
    host.answers = lambda presents: [presents] if presents == FILE_B else ["silent"]
    assert host.deploy()["changed"]


def test_one_endpoint_is_silent_before_the_deployment(host):
    """Nothing is swapped to and fro for an endpoint of which nobody would see what it presents."""
    silent, look_around = endpoint(2)["address"], host.look
    host.look = dead_at(host, silent)
    error = refused(host)
    assert f"{silent} port 25" in error.message and "dane_waive" in error.message and error.fields["silent"]
    host.look = look_around
    host.look = dead_at(host, silent, answers_after=1)
    assert host.deploy()["changed"], "one lost packet is no silence"


def dead_at(host, address, answers_after=99):
    """A look to which this address is silent so many times."""
    calls, look_around = [], host.look

    def found(endpoints, **more):
        calls.append(endpoints)
        return [
            {**one, "outcome": "silent", "chain": None, "detail": "timeout"}
            if one["endpoint"]["address"] == address and len(calls) <= answers_after else one
            for one in look_around(endpoints, **more)]
    return found


def test_what_is_presented_already_may_be_presented_again(tmp_path, monkeypatch):
    """Stale records match nothing; one endpoint presents the chain already and the other is being restarted."""
    host = Host(tmp_path, monkeypatch, file=FILE_B)
    host.versions = (version(*records(A)),)
    host.remember()
    host.answers = lambda presents: [presents, "silent"] if host.looks == 1 else [presents]
    assert host.deploy()["answer"]["verdict"] == "no worse"


def test_an_outage_is_no_licence(host):
    host.versions = (V_A,)
    host.answers = lambda presents: [presents] if presents == FILE_B else ["silent"]
    assert refused(host.remember([V_A]))


# -------------------------------------------------------------------------------------------------------- check mode


@pytest.mark.parametrize("virgin", [True, False])
def test_check_mode_writes_nothing(tmp_path, monkeypatch, virgin):
    host = Host(tmp_path, monkeypatch)
    if not virgin:
        host.remember()
    before = host.snapshot()
    if virgin:
        with pytest.raises(RefusedError):
            host.deploy(write=False)
    else:
        assert host.deploy(write=False)["changed"]
    _gate.note(host.ledger_path, TIMING, looks=[look(host.now, V_A)], write=False)
    assert host.snapshot() == before
    assert not {"before check", "before reload"} & set(host.steps)


def test_check_mode_says_no_as_well(host):
    host.versions = (V_A,)
    with pytest.raises(RefusedError):
        host.deploy(write=False)


def test_check_mode_waits_for_the_lock_where_there_is_one(host):
    host.deploy()
    with _gate.open_ledger(host.ledger_path), pytest.raises(LedgerError, match="lock"):
        with _gate.open_ledger(host.ledger_path, wait=0, write=False):
            pass


# ----------------------------------------------------------------------------------------------------------- put back


def put_back(host, restored=True, **more):
    with pytest.raises(DeployError) as caught:
        host.deploy(**more)
    assert caught.value.fields["restored"] is restored, caught.value.message
    if restored:
        assert host.read() == FILE_A and host.presents == FILE_A
    return caught.value.message


def test_a_failed_reload_puts_the_old_chain_back(host):
    host.codes["reload"] = [1]
    message = put_back(host)
    assert "did not reload" in message and "the old chain is back" in message
    assert keys(host.ledger)[A["spki"]] is None and keys(host.ledger)[B["spki"]] == host.now
    assert host.ledger.retired == frozenset()


def test_a_reload_that_fails_twice_is_not_called_restored(host):
    host.codes["reload"] = [1, 1]
    message = put_back(host, restored=False)
    assert host.read() == FILE_A and "is back" not in message.replace("file is back", "")


@pytest.mark.parametrize("others", ["silent", "no-tls", FILE_A])
def test_an_endpoint_that_does_not_present_the_new_chain_puts_the_old_one_back(host, others):
    started = host.now
    host.answers = lambda presents: [presents, others] if presents == FILE_B else [presents]
    message = put_back(host)
    assert "not every endpoint presents it" in message and endpoint(2)["address"] in message
    assert host.now >= started + 3


def test_a_slow_endpoint_has_time(host):
    host.answers = lambda presents: [presents, FILE_A] if host.looks < 5 else [presents]
    assert host.deploy()["changed"] and host.presents == FILE_B


def test_a_failing_handshake_program_puts_the_old_chain_back(host):
    def answers(presents):
        if host.looks == 2:
            raise ProbeError("Cannot look: openssl is gone")
        return [presents]
    host.answers = answers
    assert "openssl is gone" in put_back(host)


def test_there_is_nothing_to_put_back_on_a_first_deployment(tmp_path, monkeypatch):
    host = Host(tmp_path, monkeypatch, file=None)
    host.presents = FILE_A
    host.remember().codes["reload"] = [1]
    message = put_back(host, restored=False)
    assert "no older chain" in message and host.read() == FILE_B
    assert keys(host.ledger)[B["spki"]] is None, "it may be seen: the file is read by whatever starts now"


def test_after_a_failure_the_next_run_goes_on(host):
    host.codes["reload"] = [1]
    put_back(host)
    assert host.deploy(expected_spki=B["spki"])["changed"] and host.presents == FILE_B


# ---------------------------------------------------------------------------------------------------------- disk full


def full(monkeypatch, host, name, how):
    """Let writing the file of that name fail: the disk is full."""
    if how == "replace":
        real = os.replace

        def replace(source, dest):
            if os.path.basename(dest) == name:
                raise OSError(errno.ENOSPC, "No space left on device")
            real(source, dest)
        monkeypatch.setattr(os, "replace", replace)
        return
    real, current = os.fsync, []
    wrapped = _gate._replace_file

    def replacing(path, *rest):
        current.append(os.path.basename(path))
        try:
            wrapped(path, *rest)
        finally:
            current.pop()

    def fsync(descriptor):
        if current and current[-1] == name and not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)
    monkeypatch.setattr(_gate, "_replace_file", replacing)
    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("how", ["replace", "write"])
@pytest.mark.parametrize("name", ["chain.pem", "chain.pem.previous"])
def test_a_full_disk_leaves_the_old_chain_whole(host, monkeypatch, name, how):
    full(monkeypatch, host, name, how)
    message = put_back(host)
    assert "No space left" in message and "nothing was changed" in message
    assert not [one for one in os.listdir(host.directory) if one.endswith(".new")]


@pytest.mark.parametrize("how", ["replace", "write"])
def test_a_full_disk_leaves_the_old_ledger_whole(host, monkeypatch, how):
    before = host.read(host.ledger_path)
    full(monkeypatch, host, "ledger.json", how)
    with pytest.raises(LedgerError, match="No space left"):
        host.deploy()
    assert host.read(host.ledger_path) == before and host.read() == FILE_A == host.presents


def test_a_ledger_that_cannot_be_written_after_the_deployment_says_what_is(host, monkeypatch):
    """The intent is on disk, so nothing is wrong; and nobody may say that nothing was changed."""
    def run(command):
        if command[0] == "reload":
            full(monkeypatch, host, "ledger.json", "replace")
        return Host.run(host, command)
    host.run = run
    with pytest.raises(LedgerError) as caught:
        host.deploy()
    assert host.presents == FILE_B and "nothing was changed" not in caught.value.message
    assert B["spki"] in keys(host.ledger)


def test_a_ledger_that_cannot_be_written_does_not_keep_a_bad_chain_in_service(host, monkeypatch):
    def run(command):
        if command[0] == "reload":
            full(monkeypatch, host, "ledger.json", "replace")
        return Host.run(host, command)
    host.run = run
    host.answers = lambda presents: [presents, FILE_A]
    put_back(host)


# ------------------------------------------------------------------------------------------------------------ crashes


def crash_points(tmp_path, monkeypatch, **more):
    """A host for every step at which a deployment can stop (generator of number, host)."""
    number = 0
    while True:
        number += 1
        with monkeypatch.context() as patch:
            directory = tmp_path / str(number)
            directory.mkdir()
            host = Host(directory, patch, **more).remember()
            host.crash_at = number
            try:
                host.deploy(expected_spki=B["spki"])
            except Crash:
                host.crash_at = None
                yield host.steps[-1], host
                continue
            return


def test_a_run_that_stopped_anywhere_is_completed_by_the_next(tmp_path, monkeypatch):
    seen = []
    for step, host in crash_points(tmp_path, monkeypatch):
        seen.append(step)
        if host.read() == FILE_B:
            assert B["spki"] in keys(host.ledger), f"{step}: replaced without a note"
        assert host.read() in (FILE_A, FILE_B), step
        # Between the runs the preflight looks, and the records of both keys are still out.
        _gate.note(host.ledger_path, TIMING, looks=[look(host.now, V_AB)], outcomes=host.look(host.unit().endpoints),
                   clock=host.clock)
        host.deploy(expected_spki=B["spki"])
        assert host.read() == FILE_B == host.presents, step
        assert keys(host.ledger)[B["spki"]] is None, step
        assert host.ledger.retired == {A["spki"]}, step
        assert not host.deploy(expected_spki=B["spki"])["changed"], step
    assert {"wrote chain.pem", "did reload", "wrote ledger.json", "did handshakes", "did check"} <= set(seen)


def test_a_failed_completion_puts_back_what_is_presented(tmp_path, monkeypatch):
    """Between replace and reload the file is new and the service old: what comes back is the old chain, not the new."""
    for step, host in crash_points(tmp_path, monkeypatch):
        presented = host.presents
        host.codes["reload"] = [1]
        if presented == FILE_A:
            put_back(host, expected_spki=B["spki"])
        else:
            assert not host.deploy(expected_spki=B["spki"])["changed"], step


def test_an_older_chain_than_the_one_presented_is_never_put_back(tmp_path, monkeypatch):
    host = Host(tmp_path, monkeypatch, file=FILE_B).remember()
    host.presents = FILE_A
    with open(host.dest + ".previous", "w", encoding="ascii") as stream:
        stream.write(content("long gone"))
    host.codes["reload"] = [1]
    assert "no older chain" in put_back(host, restored=False)
    assert host.read() == FILE_B


def test_a_key_is_retired_even_if_the_run_stopped_and_linger_is_over(host):
    """A key that is not retired would be taken for a fresh one by the next rekey."""
    operation = {"id": "1", "kind": "rekey", "target_spki": B["spki"], "started": host.now}
    _gate.note(host.ledger_path, TIMING, operation=operation, clock=host.clock)

    def answers(presents):
        if presents == FILE_B and host.crash_at is None:
            host.crash_at = len(host.steps) + 1
        return [presents]
    host.answers = answers
    with pytest.raises(Crash):
        host.deploy(expected_spki=B["spki"])
    host.crash_at, host.answers = None, None
    for _look in range(3):
        _gate.note(host.ledger_path, TIMING, outcomes=host.look(host.unit().endpoints), clock=host.clock)
        host.now += TIMING.linger
    assert not host.deploy(expected_spki=B["spki"], looks=[look(host.now, V_AB)])["changed"]
    assert host.ledger.retired == {A["spki"]}


def test_what_lies_in_the_file_may_be_seen_for_as_long_as_it_lies_there(host):
    """The run died between replace and reload; every look since then met the old chain only."""
    with open(host.dest, "w", encoding="ascii") as stream:
        stream.write(FILE_B)
    for _look in range(3):
        ledger, _changed, _lost = _gate.note(
            host.ledger_path, TIMING, outcomes=host.look(host.unit().endpoints), clock=host.clock,
            chain_file=host.dest)
        host.now += TIMING.linger
    assert keys(ledger) == {A["spki"]: None, B["spki"]: None}
    with open(host.dest, "w", encoding="ascii") as stream:
        stream.write(FILE_A)
    ledger, _changed, _lost = _gate.note(
        host.ledger_path, TIMING, outcomes=host.look(host.unit().endpoints), clock=host.clock, chain_file=host.dest)
    assert keys(ledger) == {A["spki"]: None, B["spki"]: host.now}


@pytest.mark.parametrize("text", [None, "", "nonsense", pki.key_pem(pki.key("A")), FILE_A[:-100]])
def test_a_file_that_holds_no_chain_adds_none(host, text):
    os.unlink(host.dest)
    if text is not None:
        with open(host.dest, "w", encoding="ascii") as stream:
            stream.write(text)
    ledger, _changed, _lost = _gate.note(
        host.ledger_path, TIMING, outcomes=host.look(host.unit().endpoints), clock=host.clock, chain_file=host.dest)
    assert keys(ledger) == {A["spki"]: None}


def test_a_refused_deployment_notes_what_lies_in_the_file(host):
    with open(host.dest, "w", encoding="ascii") as stream:
        stream.write(content("C"))
    host.versions = (V_A,)
    refused(host.remember([V_A]))
    assert keys(host.ledger) == {A["spki"]: None, described(content("C"))["spki"]: None}


# ----------------------------------------------------------------------------------------------------------- the lock


def test_the_second_door_waits_for_the_first(host):
    opened, order = threading.Event(), []

    def first():
        with _gate.open_ledger(host.ledger_path):
            opened.set()
            time.sleep(0.5)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    opened.wait()
    with _gate.open_ledger(host.ledger_path, wait=10):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]


def test_a_lock_that_is_held_for_long_is_named(host):
    with _gate.open_ledger(host.ledger_path):
        with pytest.raises(LedgerError, match="fuser -v"):
            with _gate.open_ledger(host.ledger_path, wait=0):
                pass


def test_the_lock_is_held_during_the_whole_deployment(host):
    held = []

    def run(command):
        with open(host.ledger_path + ".lock", encoding="ascii") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held.append(False)
            except OSError:
                held.append(True)
        return Host.run(host, command)
    host.run = run
    host.deploy()
    assert held == [True, True]


# --------------------------------------------------------------------------------------------------------- the ledger


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00", "[" * 100_000, '{"format": 99}', "\xff"])
def test_an_unreadable_ledger_is_a_lost_one(host, text):
    with open(host.ledger_path, "w", encoding="latin-1") as stream:
        stream.write(text)
    ledger, _changed, lost = _gate.note(host.ledger_path, TIMING, looks=[look(host.now, V_A)], clock=host.clock)
    assert lost and ledger.name(OWNER).unknown_until > host.now
    assert host.ledger == ledger


def test_a_missing_ledger_is_a_new_one(tmp_path):
    path = str(tmp_path / "deep" / "er" / "ledger.json")
    _ledger, changed, lost = _gate.note(path, TIMING, looks=[look(1000.0, V_A)], clock=lambda: 1000.0)
    assert lost == "there is none yet" and not changed and os.path.exists(path)


def test_a_ledger_that_may_not_be_read_is_an_error_not_a_lost_one(tmp_path):
    path = tmp_path / "ledger.json"
    path.mkdir()
    with pytest.raises(LedgerError, match="Is a directory"):
        _gate.note(str(path), TIMING)


def test_a_place_where_no_ledger_can_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="Cannot open"):
        _gate.note(str(tmp_path / "file" / "ledger.json"), TIMING)


def test_notes_of_all_kinds(host):
    operation = {"id": "1", "kind": "rekey", "target_spki": "", "started": host.now}
    ledger, changed, _lost = _gate.note(
        host.ledger_path, TIMING, looks=[look(host.now, V_AB)], intents={OWNER: [V_B.to_dict()]},
        published={OWNER: [str(one) for one in records(A)]}, outcomes=host.look(host.unit().endpoints),
        operation=operation, retire=["x"], clock=host.clock)
    assert changed and ledger == host.ledger
    assert {one.version for one in ledger.name(OWNER).versions} == {V_AB, V_B}
    assert ledger.published_at(OWNER) == set(records(A)) and ledger.retired == {"x"}
    assert ledger.operation.id == "1" and [one.spki for one in ledger.chains.presented()] == [A["spki"]]
    again, changed, _lost = _gate.note(host.ledger_path, TIMING, operation=operation, clock=host.clock)
    assert not changed and again == ledger


def test_what_was_published_is_settled_before_the_next_is_noted(host):
    """One call may do both, also for one version."""
    noted = {"intents": {OWNER: [V_AB.to_dict()]}}
    _gate.note(host.ledger_path, TIMING, looks=[look(host.now, V_A)], **noted, clock=host.clock)
    both = {"settled": {OWNER: [V_AB.to_dict()]}, "intents": {OWNER: [V_B.to_dict()]}}
    ledger, *_rest = _gate.note(host.ledger_path, TIMING, **both, clock=host.clock)
    assert {one.version: one.open_until > 0 for one in ledger.name(OWNER).versions} == {V_A: False, V_AB: False, V_B: True}
    again = {"settled": {OWNER: [V_B.to_dict()]}, "intents": {OWNER: [V_B.to_dict()]}}
    ledger, *_rest = _gate.note(host.ledger_path, TIMING, **again, clock=host.clock)
    assert [one.version for one in ledger.name(OWNER).versions if one.open_until > 0] == [V_B]


@pytest.mark.parametrize("kind", ["rekey", "compromise"])
def test_who_meets_another_operation_is_told_which_playbook_completes_it(host, kind):
    begun = {"id": "1", "kind": kind, "target_spki": "", "started": host.now}
    _gate.note(host.ledger_path, TIMING, operation=begun, clock=host.clock)
    with pytest.raises(LedgerError, match=f"'1' .{kind}. is open; run rekey.yml again"):
        _gate.note(host.ledger_path, TIMING, operation={**begun, "id": "2"}, clock=host.clock)


def test_looks_are_no_change(host):
    _ledger, changed, _lost = _gate.note(
        host.ledger_path, TIMING, looks=[look(host.now, V_B)], outcomes=host.look(host.unit().endpoints),
        clock=host.clock)
    assert not changed and host.ledger.name(OWNER).served() == [V_B]


def test_what_nobody_can_hold_any_more_is_forgotten(host):
    host.remember([V_A])
    _gate.note(host.ledger_path, TIMING, looks=[look(host.now, V_AB)], clock=host.clock)
    later = host.now + 21
    ledger, _changed, _lost = _gate.note(host.ledger_path, TIMING, looks=[look(later, V_AB)], clock=lambda: later)
    assert [one.version for one in ledger.name(OWNER).versions] == [V_AB]


def operation(number="1", target="", started=1.0):
    return {"id": number, "kind": "rekey", "target_spki": target, "started": started}


def test_an_operation_is_opened_completed_and_closed(host):
    for wanted in (operation(), operation(target="k"), operation(target="k"), {}):
        ledger, _changed, _lost = _gate.note(host.ledger_path, TIMING, operation=wanted, clock=host.clock)
        assert (ledger.operation.target_spki if wanted else ledger.operation) == (wanted and wanted["target_spki"] or (
            "" if wanted else None))


@pytest.mark.parametrize("second", [
    operation("2"), operation("2", target="k"), operation(target="other"), operation(), {"id": "1"},
    {**operation(target="k"), "started": "now"}])
def test_an_open_operation_is_neither_replaced_nor_given_another_key(host, second):
    _gate.note(host.ledger_path, TIMING, operation=operation(target="k"), clock=host.clock)
    with pytest.raises(LedgerError, match="operation"):
        _gate.note(host.ledger_path, TIMING, operation=second, clock=host.clock)
    assert host.ledger.operation.target_spki == "k"


@pytest.mark.parametrize("notes", [
    {"intents": {OWNER: [{"records": ["3 1 1 zz"], "ttl": 1}]}}, {"intents": {OWNER: [{}]}}, {"intents": {OWNER: ["x"]}},
    {"published": {OWNER: ["3 1"]}}, {"memories": {OWNER: {}}}, {"memories": {OWNER: 7}},
])
def test_nonsense_is_refused_and_nothing_is_noted(host, notes):
    before = host.read(host.ledger_path)
    with pytest.raises(DaneError, match="Cannot"):
        _gate.note(host.ledger_path, TIMING, clock=host.clock, **notes)
    assert host.read(host.ledger_path) == before


def test_the_memory_of_a_wait_goes_on_from_what_the_ledger_has(host):
    host.remember([V_A])
    waited = host.ledger.name(OWNER).observe(look(host.now + 5, V_AB), TIMING)
    ledger, _changed, _lost = _gate.note(
        host.ledger_path, TIMING, memories={OWNER: waited.to_dict()}, clock=host.clock)
    assert {one.version: one.gone_since for one in ledger.name(OWNER).versions} == {V_A: host.now + 5, V_AB: None}


# ---------------------------------------------------------------------------------------------------- files, commands


def test_the_key_of_a_chain_file(tmp_path):
    path = tmp_path / "chain.pem"
    assert _gate.spki_of_file(str(path)) == ""
    path.write_text(FILE_A)
    assert _gate.spki_of_file(str(path)) == A["spki"]
    path.write_text(pki.key_pem(pki.key("A")))
    with pytest.raises(ChainError, match="no certificate"):
        _gate.spki_of_file(str(path))


def test_commands(tmp_path):
    assert _gate._run(("sh", "-c", "echo out; echo err >&2; exit 3")) == (3, "out\nerr")
    code, output = _gate._run((str(tmp_path / "missing"),))
    assert code == 127 and "missing" in output


# ------------------------------------------------------------------------------------------------------------ Postfix


def postconf(chain_files="/etc/chain.pem", sni="", services="", codes=(0, 0, 0)):
    """A postconf that gives these values."""
    answers = {
        ("postconf", "-xh", "smtpd_tls_chain_files"): (codes[0], chain_files),
        ("postconf", "-xh", "tls_server_sni_maps"): (codes[1], sni),
        ("postconf", "-P"): (codes[2], services),
    }
    return lambda command: answers[tuple(command)]


@pytest.mark.parametrize(("values", "words"), [
    ({}, []),
    ({"chain_files": ""}, ["(empty)", "/etc/chain.pem"]),
    ({"chain_files": "/etc/other.pem"}, ["/etc/other.pem"]),
    ({"chain_files": "/etc/chain.pem, /etc/rsa.pem"}, ["/etc/rsa.pem"]),
    ({"chain_files": "/etc/key.pem /etc/chain.pem"}, ["/etc/key.pem"]),
    ({"sni": "hash:/etc/sni"}, ["tls_server_sni_maps", "hash:/etc/sni"]),
    ({"services": "submission/inet/smtpd_tls_chain_files = /etc/chain.pem\nsmtp/inet/syslog_name = x"}, []),
    ({"services": "smtps/inet/smtpd_tls_chain_files = /etc/x.pem"}, ["smtps/inet", "/etc/x.pem"]),
    ({"services": "smtps/inet/smtpd_tls_cert_file = /etc/x.pem"}, ["/etc/x.pem"]),
    ({"services": "smtps/inet/smtpd_tls_eccert_file = /etc/x.pem"}, ["/etc/x.pem"]),
    ({"services": "smtps/inet/tls_server_sni_maps = hash:/x"}, ["hash:/x"]),
    ({"codes": (1, 0, 0)}, ["postconf fails"]),
    ({"codes": (0, 1, 0), "sni": "cannot"}, ["cannot"]),
    ({"codes": (0, 0, 1), "services": "fatal: bad"}, ["fatal: bad"]),
])
def test_postfix_serves_from_the_file_alone(values, words):
    found = _gate.postfix_objections("/etc/chain.pem", postconf(**values))
    assert bool(found) == bool(words)
    for word in words:
        assert word in " ".join(found)


def test_only_the_setting_that_is_managed_is_no_objection():
    world = postconf(chain_files="/etc/other.pem", sni="hash:/etc/sni")
    found = _gate.postfix_objections("/etc/chain.pem", world, managed=True)
    assert len(found) == 1 and "tls_server_sni_maps" in found[0]


def test_postfix_is_checked_and_reloaded():
    assert _gate.DAEMONS["postfix"].check == ("postfix", "check")
    assert _gate.DAEMONS["postfix"].reload == ("postfix", "reload")
    assert _gate.DAEMONS["postfix"].running == ("postfix", "status")


# ---------------------------------------------------------------------------------------------------------- other names


def test_another_key_is_refused_while_records_stay_at_a_name_that_nobody_asks_about(host):
    """The name was taken out of dane_names, and its record is still there: senders would meet the new key with it."""
    dropped = "_25._tcp.mail.example.test."
    _gate.note(host.ledger_path, TIMING, published={dropped: [str(records(A)[0])]}, clock=host.clock)
    error = refused(host)
    assert dropped in error.message and "dane_names" in error.message and f'published: {{"{dropped}": []}}' in error.message
    with open(host.candidate, "w", encoding="ascii") as stream:
        stream.write(FILE_A2)
    assert host.deploy()["changed"], "a renewal of the same key changes nothing there"
    with open(host.candidate, "w", encoding="ascii") as stream:
        stream.write(FILE_B)
    _gate.note(host.ledger_path, TIMING, published={dropped: []}, clock=host.clock)
    assert host.deploy()["changed"]


def test_who_only_reads_forgets_nothing(host):
    """The timing of a reader need not be that of the host."""
    host.remember([V_A])
    _gate.note(host.ledger_path, TIMING, looks=[look(host.now, V_AB)], clock=host.clock)
    host.now += 3600
    for _turn in range(2):
        ledger, _changed, _lost = _gate.note(host.ledger_path, TIMING, clock=host.clock)
        assert {one.version for one in ledger.name(OWNER).versions} == {V_A, V_AB}


# --------------------------------------------------------------------------------------------------------------- clocks


def test_what_this_host_knows_of_the_time():
    one, two = _gate.read_clock(lambda: 5.0), _gate.read_clock(lambda: 6.0)
    assert (one.wall, two.wall) == (5.0, 6.0) and one.boot == two.boot and len(one.boot) == 36
    assert 0 <= two.uptime - one.uptime < 5


@pytest.mark.parametrize(("other", "word"), [(1060.1, "behind"), (939.9, "ahead of")])
def test_clocks_that_differ_are_refused(other, word):
    with pytest.raises(LedgerError, match=f"is 60 s {word} the controller's"):
        _gate.check_clock(other, lambda: 1000.0)


@pytest.mark.parametrize("other", [None, 1060.0, 940.0])
def test_clocks_that_are_near_enough_are_not(other):
    _gate.check_clock(other, lambda: 1000.0)


def test_a_jump_ahead_does_not_shorten_the_wait(host, monkeypatch):
    """V_A was withdrawn a moment ago; then the wall clock is set two hours ahead, and the computer ran for ten seconds."""
    host.remember([V_A])
    _gate.note(host.ledger_path, TIMING, looks=[look(host.now, V_AB)], clock=host.clock)
    uptime = host.now + 10
    host.now += 7200
    monkeypatch.setattr(_gate, "read_clock", lambda clock: Clock(clock(), "boot", uptime))
    assert refused(host).fields["answer"]["safe_at"] == host.now - 10 + 21


def test_endpoints_at_addresses_that_left_are_looked_at(host):
    before = host.unit().endpoints
    moved = [{**one, "address": "198.51.100.99"} for one in before]
    _gate.note(host.ledger_path, TIMING, outcomes=host.look(before), clock=host.clock)
    assert _gate.with_left(host.ledger_path, before) == before
    _gate.note(host.ledger_path, TIMING, outcomes=host.look(moved), clock=host.clock)
    left = [one for one in _gate.with_left(host.ledger_path, moved) if one.get("left")]
    assert {one["address"] for one in left} == {one["address"] for one in before}
    assert _gate.with_left(host.ledger_path, []) == []


# ------------------------------------------------------------------------------------------------ a ledger nobody can read


def test_a_ledger_that_cannot_be_read_is_kept_aside(host):
    for text in ("first", "second"):
        with open(host.ledger_path, "w", encoding="ascii") as stream:
            stream.write(text)
        _ledger, _changed, lost = _gate.note(host.ledger_path, TIMING, looks=[look(host.now, V_A)], write=False)
        assert host.ledger_path + ".unreadable" in lost
        assert text == "second" or not os.path.exists(host.ledger_path + ".unreadable")
        _gate.note(host.ledger_path, TIMING, looks=[look(host.now, V_A)], clock=host.clock)
        assert host.read(host.ledger_path + ".unreadable") == "first", "what was good last, not what became of it"
        assert host.ledger.name(OWNER).served() == [V_A]


def test_a_name_that_occurs_twice_makes_a_ledger_unreadable(host):
    text = json.dumps(host.ledger.to_dict())
    with open(host.ledger_path, "w", encoding="ascii") as stream:
        stream.write(text.replace('"names": {', '"names": {}, "names": {', 1))
    _ledger, _changed, lost = _gate.note(host.ledger_path, TIMING)
    assert "a name occurs twice" in lost


@pytest.mark.parametrize("line", ["smtpd/inet/smtpd_tls_chain_files=", "smtpd/inet/smtpd_tls_chain_files = /other.pem"])
def test_a_service_without_the_chain_files_is_an_objection(line):
    def run(command):
        return 0, {"-xh": "/etc/chain.pem" if command[-1] == "smtpd_tls_chain_files" else "", "-P": line}[command[1]]
    assert any("master.cf has -o" in one for one in _gate.postfix_objections("/etc/chain.pem", run))


def test_a_time_that_is_none_is_no_clock():
    with pytest.raises(LedgerError, match="Cannot use the ledger"):
        _gate.check_clock(float("nan"), lambda: 1000.0)


# -------------------------------------------------------------------------------------------------------------- issuers

OTHER_CA = pki.root("Another root of the gate")
FILE_A_OTHER = content("A", ca=OTHER_CA)


def issuers(text):
    """What is published for the issuer of a chain file (set of Record)."""
    return set(map(_gate.Record.parse, described(text)["issuer_records"]))


def on_the_issuer(host, candidate):
    """Let the RRset have the record of A's issuer alone, and this chain be the candidate."""
    host.versions = (version(*records(A, combination="2 1 1")),)
    host.remember()
    with open(host.candidate, "w", encoding="ascii") as stream:
        stream.write(candidate)


@pytest.mark.parametrize("candidate", [FILE_A_OTHER, FILE_A2.replace(CA.pem, "")], ids=["another issuer", "no issuer"])
def test_the_anchor_has_to_be_in_the_chain(host, candidate):
    """RFC 7671 section 5.2.2: a record on an issuer matches only what presents it."""
    on_the_issuer(host, candidate)
    with pytest.raises(RefusedError, match="does not match the chain of key .* in 2 1 1"):
        host.deploy()
    assert host.read() == FILE_A == host.presents


def test_a_renewal_of_the_same_issuer_is_served_under_its_record(host):
    on_the_issuer(host, FILE_A2)
    assert host.deploy()["changed"] and host.presents == FILE_A2


def test_the_issuers_of_what_is_served_and_of_what_was_refused_are_remembered(host):
    on_the_issuer(host, FILE_A_OTHER)
    with pytest.raises(RefusedError):
        host.deploy()
    assert host.ledger.issuers.records() == issuers(FILE_A) | issuers(FILE_A_OTHER) and len(issuers(FILE_A)) == 4


def test_an_issuer_is_kept_by_looks_at_the_chain_file_and_forgotten_180_days_after_it_went(host):
    where = [endpoint(1)]
    noted = {"outcomes": host.look(where), "chain_file": host.dest, "clock": host.clock}
    assert _gate.note(host.ledger_path, TIMING, **noted)[0].issuers.records() == issuers(FILE_A)
    _ledger, changed, _lost = _gate.note(
        host.ledger_path, TIMING, issuers=described(FILE_A_OTHER)["issuer_records"], clock=host.clock)
    assert not changed, "what was seen is no decision"
    assert host.ledger.issuers.records() == issuers(FILE_A) | issuers(FILE_A_OTHER)
    host.now += 80 * 86400
    _gate.note(host.ledger_path, TIMING, **noted)
    host.now += 100 * 86400
    assert _gate.note(host.ledger_path, TIMING, **noted)[0].issuers.records() == issuers(FILE_A)


def test_only_issuers_are_noted_as_issuers(host):
    before = host.snapshot()
    with pytest.raises(LedgerError, match="Cannot remember '3 1 1"):
        _gate.note(host.ledger_path, TIMING, issuers=[str(records(A)[0])], clock=host.clock)
    assert {path: told for path, told in host.snapshot().items() if not path.endswith(".lock")} == before


def test_the_root_is_remembered_where_records_are_about_it(host):
    issuer = pki.intermediate(CA, "Issuer below the root of the gate")
    leaf = pki.leaf(issuer, names=(NAME,), private=pki.key("B"))
    root = described(content("B"))["issuer_records"]
    for chain, anchor, told in ((leaf.pem + issuer.pem + CA.pem, "root", root), (leaf.pem + issuer.pem, "root", []),
                                (leaf.pem + issuer.pem + CA.pem, "issuer", described(leaf.pem + issuer.pem)["issuer_records"])):
        host.remember()
        with open(host.candidate, "w", encoding="ascii") as stream:
            stream.write(leaf.key_pem + chain)
        host.deploy(write=False, anchor=anchor)
        with open(host.dest, "w", encoding="ascii") as stream:
            stream.write(leaf.key_pem + chain)
        noted = {"outcomes": host.look([endpoint(1)]), "chain_file": host.dest, "clock": host.clock}
        ledger = _gate.note(host.ledger_path, TIMING, anchor=anchor, **noted)[0]
        assert sorted(map(str, ledger.issuers.records())) == sorted(told)
        host.presents = host.read()
        assert host.deploy(anchor=anchor)["chain"]["issuer_records"] == told
        assert sorted(map(str, host.ledger.issuers.records())) == sorted(told)


def test_an_issuer_below_a_root_that_is_presented_is_forgotten(host):
    issuer = pki.intermediate(CA, "Issuer below the root of the gate")
    leaf = pki.leaf(issuer, names=(NAME,), private=pki.key("B"))
    below = set(map(_gate.Record.parse, described(leaf.pem + issuer.pem)["issuer_records"]))
    root = set(map(_gate.Record.parse, described(content("B"))["issuer_records"]))
    other = next(iter(records(described(FILE_A_OTHER), combination="2 1 1")))
    known = Ledger().issuers.noted([*below, other], host.now)
    host.remember(issuers=known)
    with open(host.candidate, "w", encoding="ascii") as stream:
        stream.write(leaf.key_pem + leaf.pem + issuer.pem)
    host.deploy(write=False, anchor="root")
    host.deploy(anchor="root")
    assert host.ledger.issuers.records() == {*below, *root, other}, "the chain before had that root alone"
    with open(host.candidate, "w", encoding="ascii") as stream:
        stream.write(leaf.key_pem + leaf.pem + issuer.pem + CA.pem)
    host.deploy(anchor="root")
    assert host.ledger.issuers.records() == {*root, other}
    host.deploy()
    assert host.ledger.issuers.records() == {*root, *below, other}, "after a change back the root stays for a while"


# ---------------------------------------------------------------------------------------- clients that know nothing of DANE


UNTRUSTED_CA = pki.root("A root that nobody else trusts")


@pytest.fixture(name="store")
def the_store(tmp_path):
    """The roots that clients without DANE trust: that of the served chain."""
    path = tmp_path / "roots.pem"
    path.write_text(CA.pem)
    return str(path)


@pytest.fixture(name="worse")
def a_worse_host(tmp_path, monkeypatch):
    """Its candidate has the key that the records want, and a certificate that no client without DANE accepts."""
    return Host(tmp_path, monkeypatch, candidate=content("B", ca=UNTRUSTED_CA)).remember()


def test_a_chain_that_other_clients_would_refuse_is_refused(worse, store):
    before = worse.snapshot()
    with pytest.raises(ChainError, match="MTA-STS.* for mx1.example.test: .*they accept the one that is served") as caught:
        worse.deploy(pkix="auto", trust_store=store)
    assert list(caught.value.fields["pkix"]) == [NAME]
    after = worse.snapshot()
    assert {path: after[path] for path in before if "state" not in path} == {
        path: before[path] for path in before if "state" not in path}
    assert worse.presents == FILE_A and "did reload" not in worse.steps


def test_it_is_refused_in_check_mode_too(worse, store):
    with pytest.raises(ChainError, match="MTA-STS"):
        worse.deploy(write=False, pkix="auto", trust_store=store)


def test_dane_is_asked_first(worse, store):
    worse.versions = (V_A,)
    worse.remember()
    with pytest.raises(RefusedError):
        worse.deploy(pkix="auto", trust_store=store)


def test_it_is_served_with_a_warning_where_that_is_wanted(worse, store):
    result = worse.deploy(pkix="warn", trust_store=store)
    assert result["changed"] and "would refuse the chain for mx1.example.test" in result["pkix"]
    assert worse.deploy(pkix="warn", trust_store=store)["pkix"] == "", "once"


def test_a_chain_that_other_clients_accept(host, store):
    assert host.deploy(pkix="require", trust_store=store)["pkix"] == ""


def test_the_same_certificate_by_a_run_that_died_is_not_asked_about(worse, store):
    """The file is replaced already: whatever process starts next presents it."""
    with open(worse.dest, "w", encoding="ascii") as stream:
        stream.write(worse.read(worse.candidate))
    assert worse.deploy(pkix="require", trust_store=store)["changed"]


# ------------------------------------------------------------------------------ a ledger that is stale, near the end

WEEK = 7 * 86400
ISSUER, OTHER = pki.intermediate(CA, "Issuer of the gate"), pki.intermediate(CA, "Another issuer of the gate")


def leaf(key="A", issuer=ISSUER, **more):
    """A chain file with a new certificate, and the name that it has to have."""
    made = pki.leaf(issuer, **{"names": (NAME,), "private": pki.key(key), **more})
    return made.key_pem + made.pem + issuer.pem


#: By what the certificate that is served has left.
ENDING = {days: leaf(start=(days - 90) * 86400, end=days * 86400) for days in (-3, 6, 8)}
RENEWED = leaf()


@pytest.fixture(name="ending")
def fixture_ending(tmp_path, monkeypatch):
    """``ending(file, candidate)``: a host that cannot see the DNS, whose ledger is 20 days old, and who serves ``file``."""
    def make(file=ENDING[6], candidate=RENEWED, age=20 * 86400, versions=None, owners=(OWNER,)):
        host = Host(tmp_path, monkeypatch, file=file, candidate=candidate)
        names = [Name(owner).observe(look(host.now - age, *(versions or (V_A,)), owner=owner), TIMING) for owner in owners]
        ledger = Ledger()
        for name in names:
            ledger = ledger.with_name(name._replace(unknown_until=0.0))
        host.save(ledger)
        return host
    return make


def codes(error):
    return {reason["code"] for reason in error.fields["answer"]["reasons"]}


@pytest.mark.parametrize("left", [6, -3])
def test_by_a_stale_ledger_what_is_about_to_end_is_renewed_and_said_aloud(ending, left):
    host = ending(ENDING[left])
    result = host.deploy(offline=True, looks=[])
    assert host.presents == RENEWED == host.read() and result["answer"]["yes"]
    assert f"the ledger is stale: the last look at {OWNER} in which the DNS was seen is 20 days old" in result["stale"]
    assert "dane_hook_resolvers" in result["stale"]
    assert host.ledger.name(OWNER).heard_at == host.now - 20 * 86400


def test_what_lasts_for_longer_can_wait(ending):
    assert codes(refused(ending(ENDING[8]), offline=True, looks=[])) == {"view-stale"}


@pytest.mark.parametrize("more", [0, 1])
def test_a_week_is_a_week(ending, more):
    host = ending(ENDING[8])
    host.now = pki.NOW + 86400 + more
    if more:
        assert host.deploy(offline=True, looks=[])["changed"]
    else:
        refused(host, offline=True, looks=[])


def test_a_ledger_that_is_not_stale_is_no_matter_for_a_warning(ending):
    assert "stale" not in ending(age=WEEK).deploy(offline=True, looks=[])


@pytest.mark.parametrize("candidate", [
    leaf(issuer=OTHER), leaf("B"), leaf(names=(NAME, "mail.example.test")), RENEWED + CA.pem,
], ids=["another issuer", "another key", "another name", "a root more"])
def test_by_a_stale_ledger_nothing_else_may_change(ending, candidate):
    host = ending(candidate=candidate, versions=(V_AB,))
    assert "view-stale" in codes(refused(host, offline=True, looks=[]))


def test_the_names_may_stand_in_another_order(ending):
    names = (NAME, "mail.example.test")
    host = ending(leaf(names=names, end=6 * 86400), leaf(names=names[::-1]))
    assert host.deploy(offline=True, looks=[])["stale"]


def test_what_the_stale_ledger_does_know_is_heeded(ending):
    host = ending(versions=(version(*records(A), *records(described(ENDING[6]), combination="3 0 1")),))
    assert codes(refused(host, offline=True, looks=[])) == {"version-unmatched"}


def test_what_is_presented_counts_and_not_the_file_alone(ending):
    """Somebody has put a file there that no process has read."""
    host = ending(versions=(V_AB,))
    host.presents = leaf("B")
    assert "view-stale" in codes(refused(host, offline=True, looks=[]))


def test_where_nothing_is_presented_nothing_is_renewed(ending):
    host = ending()
    host.presents = None
    assert "view-stale" in codes(refused(host, offline=True, looks=[]))


def test_who_can_look_has_to(ending):
    assert codes(refused(ending(), looks=[look(pki.NOW, "silent")])) == {"nobody-heard"}


def test_a_lost_ledger_stays_a_refusal_even_then(ending):
    host = ending()
    os.unlink(host.ledger_path)
    assert codes(refused(host, offline=True, looks=[])) == {"view-stale"}


def test_one_name_that_was_never_heard_is_a_refusal_for_both(ending):
    other = "_465._tcp." + NAME + "."
    host = ending()
    both = host.unit().endpoints + [{**endpoint(), "port": 465}]
    error = refused(host, offline=True, looks=[], endpoints=both)
    assert {reason["owner"] for reason in error.fields["answer"]["reasons"]} == {OWNER, other}
    assert "the last 604800 s" in error.message
    assert ending(owners=(OWNER, other)).deploy(offline=True, looks=[], endpoints=both)["stale"].count("_tcp.") == 2


def test_a_retired_key_is_not_renewed_by_a_stale_ledger_either(ending):
    host = ending()
    host.save(host.ledger._replace(retired=frozenset([A["spki"]])))
    assert "retired" in refused(host, offline=True, looks=[]).message


def test_a_run_that_died_before_the_reload_is_completed_by_a_stale_ledger(ending):
    host = ending(RENEWED)
    host.presents = ENDING[6]
    with open(host.dest + ".previous", "w", encoding="ascii") as stream:
        stream.write(ENDING[6])
    assert host.deploy(offline=True, looks=[])["stale"] and host.presents == RENEWED


def test_of_two_keys_the_one_that_stays_may_last_as_long_as_it_likes(ending):
    rsa = pki.leaf(CA, names=(NAME,), private=pki.key("R", "rsa"))
    stays = rsa.key_pem + rsa.pem + CA.pem
    host = ending(ENDING[6] + stays, RENEWED + stays)
    both = {"ecdsa": described(ENDING[6]), "rsa": described(stays)}
    host.versions = (version(*records(*both.values())),)
    host.save(host.ledger.with_name(Name(OWNER).observe(look(host.now - 20 * 86400, *host.versions), TIMING)))

    def handshakes(endpoints, handshakes=1):
        shown = {one["algorithm"]: one for one in (
            _chain.describe(chain, [NAME], host.now) for chain in _chain.load_chains(host.presents, "a file"))}
        return [{"endpoint": one, "at": host.now, "detail": "", "chain": shown[one["algorithm"]], "outcome": "chain"}
                for one in endpoints]
    host.look = handshakes
    assert host.deploy(offline=True, looks=[])["stale"] and host.presents == RENEWED + stays


# ------------------------------------------------------------------------------------------------------ two owner names


def test_every_owner_name_is_asked_and_the_one_that_refuses_is_named(tmp_path, monkeypatch):
    """One chain file for two base domains: the record of the second is not there yet."""
    name, owner = "mx2.example.test", "_25._tcp.mx2.example.test."
    made = pki.leaf(CA, names=(NAME, name), private=pki.key("B"))
    candidate = made.key_pem + made.pem + CA.pem
    host = Host(tmp_path, monkeypatch, candidate=candidate)
    both = [*host.unit().endpoints, *({**endpoint(1, algorithm=algorithm), "name": name} for algorithm in ("ecdsa", "rsa"))]
    ready, late = look(host.now, V_AB), look(host.now, V_A, owner=owner)
    known = [Name(told["owner"]).observe(told, TIMING)._replace(unknown_until=0.0) for told in (ready, late)]
    host.save(Ledger().with_name(known[0]).with_name(known[1]))
    error = refused(host, endpoints=both, looks=[ready, late])
    (reason,) = error.fields["answer"]["reasons"]
    assert (reason["owner"], reason["code"]) == (owner, "version-unmatched") and owner in error.message
    assert OWNER not in error.message
    # It is published, and the caches have forgotten what was before.
    host.now += 1
    refused(host, endpoints=both, looks=[look(host.now, V_AB), look(host.now, V_AB, owner=owner)])
    host.now += TIMING.lifetime(10)
    looks = [look(host.now, V_AB), look(host.now, V_AB, owner=owner)]
    assert host.deploy(endpoints=both, looks=looks)["changed"] and host.presents == candidate
