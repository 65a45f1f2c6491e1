# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filters are the functions of _plan and others, with the clock, and with errors that Ansible shows as one line."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pki
import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.mailops.dane.plugins.filter import plan
from ansible_collections.mailops.dane.plugins.module_utils import _chain, _plan, _role_options
from rollover_values import OWNER, TIMING, chain, outcome

FILTERS = plan.FilterModule().filters()


def host(presented=chain("A"), before=()):  # noqa: B008
    chains = _plan.Chains()
    for age, one in (*before, (0, presented)):
        chains = chains.observe([outcome(time.time() - age, one)], TIMING, nothing_before=True)
    ledger = _plan.Ledger(chains=chains)
    return {"host": "mx1", "active": True, "owners": [OWNER], "combinations": ["3 1 1"], "ttl": 10,
            "timing": TIMING._asdict(), "ledger": ledger.to_dict(), "candidate": chain("A").to_dict()}


def test_every_filter_that_roles_and_playbooks_use_exists_and_none_is_left_over(collection_root):
    used = set()
    for folder in ("roles", "playbooks"):
        for path in (collection_root / folder).rglob("*.yml"):
            used |= set(re.findall(r"mailops\.dane\.(dane_\w+)", path.read_text(encoding="utf-8")))
    assert used - {"dane_ledger"} == set(FILTERS)


def test_the_clock_is_that_of_the_controller():
    lingering = host(before=[(20, chain("B"))])
    assert 1 <= FILTERS["dane_linger_seconds"]([lingering]) <= 31
    assert len(FILTERS["dane_views"]([lingering])[OWNER]["chains"]) == 2
    assert FILTERS["dane_views"]([lingering], True)[OWNER]["enabling"] is True
    assert FILTERS["dane_publish"]([lingering], True)["later"] == [OWNER]
    assert FILTERS["dane_publish"]([host()], True)["later"] == []
    assert FILTERS["dane_withdraw"]([host()])["records"] == []


def test_what_is_due_is_so_by_the_clock_of_the_controller():
    ledger = _plan.Ledger().with_published(OWNER, [next(iter(chain("A").matches))])
    old = {**host(), "ledger": ledger.to_dict(), "key_since": time.time() - 3601, "key_max_age": 3600, "key_spread": 0}
    young = {**old, "host": "mx2", "key_since": time.time() - 3500}
    assert FILTERS["dane_decide"]([old, young], "due") == {"mx1": "new", "mx2": None}
    assert "is due since" in FILTERS["dane_schedule"]([old], "due")[0]
    assert "is not due before" in FILTERS["dane_schedule"]([young], "due")[0]


def test_errors_are_filter_errors_in_one_sentence():
    with pytest.raises(AnsibleFilterError, match="Cannot rekey mx1"):
        FILTERS["dane_decide"]([host()])
    with pytest.raises(AnsibleFilterError, match="Cannot read"):
        FILTERS["dane_combinations"](["x"])
    with pytest.raises(AnsibleFilterError, match="Cannot read the"):
        FILTERS["dane_memories"]([{**host(), "ledger": {}}])


def test_only():
    assert FILTERS["dane_only"]({"a": 1, "b": 2}, ["a", "c"]) == {"a": 1}


@pytest.mark.parametrize("kind, algorithm", [("ECC", "ecdsa"), ("RSA", "rsa"), ("Ed25519", "ed25519")])
def test_lineage(kind, algorithm):
    result = {"item": {"name": "mail-2", "made": 12.5}, "type": kind, "public_key_fingerprints": {
        "md5": "00", "sha256": "ab:cd:01", "sha512": "ef:02"}}
    assert FILTERS["dane_lineage"](result) == {
        "lineage": "mail-2", "spki": "abcd01", "spki512": "ef02", "algorithm": algorithm, "made": 12.5}


def test_one_filter_does_not_import_what_others_need():
    """Each task on each host is a process that imports this anew. And what comes late is there."""
    program = """
import sys, conftest
from ansible_collections.mailops.dane.plugins.filter import plan
plan.FilterModule().filters()["dane_only"]({}, [])
print([name for name in sys.modules if name.rpartition(".")[2] in ("cryptography", "_chain", "_gate", "_certbot")])
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(pki.__file__).parent)}
    said = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"
    late = re.findall(r'_late\("(\w+)", "(\w+)"\)', inspect.getsource(plan))
    assert len(late) > 5 and all(callable(getattr(plan._library(module), name)) for module, name in late)


def test_the_options_of_a_role_are_read_from_its_specifications(collection_root):
    found = FILTERS["dane_read_options"](str(collection_root / "roles" / "preflight" / "meta" / "argument_specs.yml"))
    assert {"dane_names", "dane_services", "dane_records"} <= set(found)


def test_what_hosts_have_to_agree_on_are_options(collection_root):
    """A name that is misspelt there would be equal for all hosts, as none has it."""
    options = {name for path in (collection_root / "roles").glob("*/meta/argument_specs.yml")
               for name in FILTERS["dane_read_options"](str(path))}
    assert set(_role_options.SHARED) <= options


def test_issuers_to_publish_ahead_are_read_from_files(tmp_path):
    ca, other = pki.root("Pool"), pki.intermediate(pki.root("Root of the pool"), "Intermediate of the pool")
    (tmp_path / "one.pem").write_text(ca.pem)
    (tmp_path / "two.pem").write_text("# announced for spring\n" + ca.pem + other.pem)
    found = FILTERS["dane_issuer_pool"]([str(tmp_path / "one.pem"), str(tmp_path / "two.pem")])
    assert len(found) == 8 and len(FILTERS["dane_issuer_pool"]([str(tmp_path / "one.pem")])) == 4
    assert {text[:6] for text in found} == {"2 0 1 ", "2 0 2 ", "2 1 1 ", "2 1 2 "}
    assert FILTERS["dane_issuer_pool"]([]) == []


def test_files_that_hold_no_issuer_are_named_with_the_option(tmp_path):
    service = {"port": 25, "starttls": "smtp"}
    (tmp_path / "empty.pem").write_text("")
    (tmp_path / "leaf.pem").write_text(pki.leaf().pem)
    (tmp_path / "binary.pem").write_bytes(b"\x30\x82\xff")
    for name, words in (("empty.pem", "found no certificate"), ("leaf.pem", "is not a CA"), ("none.pem", "No such file"),
                        ("binary.pem", "expected a PEM file")):
        (said,) = FILTERS["dane_impossible_options"](["2 1 1"], ["mx1.example.test"], [service], [str(tmp_path / name)])
        assert said.startswith("dane_issuer_pool: Cannot") and name in said and words in said
    assert FILTERS["dane_impossible_options"](["2 1 1"], ["mx1.example.test"], [service]) == []


STORE = {"store": "offline", "method": "csr", "records": ["3 1 1"], "key_types": [], "export": "/srv/keys"}


def test_recipients_of_standby_keys_are_read_from_a_file(tmp_path, monkeypatch):
    one, two = (pki.issue(name, kind=kind, usage=None, extended=None) for name, kind in (("one", "rsa"), ("two", "ecdsa")))
    path = tmp_path / "operators.pem"
    path.write_text(f"Who keeps them\n{one.pem}{one.key_pem}{two.pem}")
    assert FILTERS["dane_standby_recipients"](str(path)) == [one.pem, two.pem], "and never a key"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert FILTERS["dane_standby_recipients"]("~/operators.pem") == [one.pem, two.pem]
    assert FILTERS["dane_standby_recipients"]("") == []
    assert FILTERS["dane_impossible_store"](**STORE, recipient=str(path)) == []


def test_what_stands_in_the_way_of_a_standby_key_offline_is_named_with_its_option(tmp_path, monkeypatch):
    (tmp_path / "empty.pem").write_text("")
    (tmp_path / "signs.pem").write_text(pki.issue("signs", kind="rsa", usage=("digital_signature",)).pem)
    (tmp_path / "binary.pem").write_bytes(b"\x30\x82\xff")
    for name, words in (("empty.pem", "found no certificate"), ("signs.pem", "its key usage lacks keyEncipherment"),
                        ("none.pem", "No such file"), ("binary.pem", "expected a PEM file")):
        (said,) = FILTERS["dane_impossible_store"](**STORE, recipient=str(tmp_path / name))
        assert said.startswith("dane_standby_recipient: Cannot") and name in said and words in said
        assert FILTERS["dane_impossible_store"](**{**STORE, "store": "host"}, recipient=str(tmp_path / name)) == []
    (said,) = FILTERS["dane_impossible_store"](**STORE, recipient="")
    assert said.startswith("dane_standby_recipient: Cannot encrypt the standby key to nobody")
    assert len(FILTERS["dane_impossible_store"](**{**STORE, "method": "lineage"}, recipient="")) == 2
    # That is said of dane_records.
    assert FILTERS["dane_impossible_store"](**{**STORE, "records": ["3 0 1"]}, recipient="") == []
    monkeypatch.setattr(_chain, "HAS_CRYPTOGRAPHY", False)
    (said,) = FILTERS["dane_impossible_store"](**STORE, recipient="/x")
    assert "no cryptography beside this Ansible" in said
