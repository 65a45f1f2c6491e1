# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import hashlib
import json
import subprocess
import time
from unittest import mock

import dns_world as lab
import pytest
import yaml
from ansible.module_utils import basic
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ansible_collections.mailops.dane.plugins.doc_fragments import dns as fragment
from ansible_collections.mailops.dane.plugins.doc_fragments import override as override_fragment
from ansible_collections.mailops.dane.plugins.module_utils import _dns, _update
from ansible_collections.mailops.dane.plugins.modules import tlsa_record

A, B, C = (f"3 1 1 {digest}" for digest in (lab.DIGEST_A, lab.DIGEST_B, lab.DIGEST_C))

pytestmark = pytest.mark.real_dns


try:
    from ansible.module_utils.testing import patch_module_args as module_arguments
except ImportError:
    # ansible-core 2.18
    def module_arguments(arguments):
        return mock.patch.object(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode())


@pytest.fixture
def owner(request):
    """An owner name of its own for each test."""
    return f"_25._tcp.t{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]}.example.test."


@pytest.fixture
def run(dns_world, capsys):
    """A function that runs the module and returns its result (dict)."""
    def run_module(*records, check=False, **options):
        arguments = {
            "records": list(records), "server": "127.0.0.1", "port": dns_world.ports["primary"], "key_name": "dane.",
            "key_secret": lab.SECRET, "resolver": [f"127.0.0.1@{dns_world.ports['unbound']}"],
            "_ansible_check_mode": check, "_ansible_diff": True, **options}
        if "view" not in options and "unchecked" not in options:
            arguments["unchecked"] = True
        with module_arguments(arguments), pytest.raises(SystemExit):
            tlsa_record.main()
        return json.loads(capsys.readouterr().out)
    return run_module


@pytest.fixture
def served(dns_world):
    """A function that gives what the primary serves (set of str), asked with another program."""
    def ask(owner):
        done = subprocess.run(
            ["dig", "+short", "+tcp", "-p", str(dns_world.ports["primary"]), "@127.0.0.1", owner, "TLSA"],
            capture_output=True, text=True, check=True)
        return {" ".join(line.split()[:3]) + " " + "".join(line.split()[3:]).lower()
                for line in done.stdout.splitlines()}
    return ask


def view(*matches, **more):
    """A view of endpoints that present one chain, which matches these records."""
    chain = {"id": "c" * 64, "spki": "d" * 64, "algorithm": "ecdsa", "matches": sorted(matches)}
    return {"chains": [chain], "seen_at": time.time(), **more}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate and its public key in PEM files: (paths, the data of its 3 1 1 and 3 0 2 records)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mx1.example.test")])
    now = datetime.datetime(2026, 1, 1)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(90)).sign(
        key, hashes.SHA256())
    directory = tmp_path_factory.mktemp("pem")
    spki = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    (directory / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (directory / "key.pem").write_bytes(key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    der = made.public_bytes(serialization.Encoding.DER)
    return directory, hashlib.sha256(spki).hexdigest(), hashlib.sha512(der).hexdigest()


def test_publishes_and_says_so(run, served, owner):
    result = run({"name": owner.rstrip(".").upper(), "rdata": [A, "DANE-EE SPKI SHA2-256 " + lab.DIGEST_B.upper()],
                  "ttl": 10})
    assert result["changed"]
    assert result["results"] == [{
        "name": owner, "zone": "example.test.", "changed": True, "before": [], "after": [A, B], "ttl": 10}]
    assert result["diff"] == {"before": "", "after": f"{owner} 10 IN TLSA {A}\n{owner} 10 IN TLSA {B}\n"}
    assert served(owner) == {A, B}
    again = run({"name": owner, "rdata": [A, B], "ttl": 10})
    assert not again["changed"]
    assert again["diff"]["before"] == again["diff"]["after"] == result["diff"]["after"]


def test_removes_exactly_what_is_given(run, served, dns_world, owner):
    dns_world.update(owner, add=[A, B, C])
    result = run({"name": owner, "rdata": [B]}, state="absent")
    assert result["results"][0]["after"] == [A, C]
    assert served(owner) == {A, C}
    assert run({"name": owner, "rdata": [C]}, state="exact")["changed"]
    assert served(owner) == {C}


def test_a_rehearsal_finds_out_before_anything_depends_on_it(run, served, dns_world, owner):
    dns_world.update(owner, add=[A])
    stranger = {"key_name": "stranger."}
    assert not run({"name": owner}, rehearse=True)["changed"]
    assert not run({"name": owner}, **stranger).get("failed"), "with nothing to do nothing is sent"
    assert run({"name": owner}, rehearse=True, **stranger)["rcode"] == "REFUSED"
    assert not run({"name": owner}, rehearse=True, check=True, **stranger).get("failed"), "check mode sends nothing"
    assert served(owner) == {A}


def test_check_mode_changes_nothing(run, served, dns_world, owner):
    dns_world.update(owner, add=[A])
    serial = dns_world.serial(lab.PRIMARY)
    result = run({"name": owner, "rdata": [B]}, check=True)
    assert result["changed"]
    assert result["diff"]["after"] == f"{owner} 10 IN TLSA {A}\n{owner} 10 IN TLSA {B}\n"
    assert served(owner) == {A}
    assert dns_world.serial(lab.PRIMARY) == serial


def test_an_empty_list_asks_nobody(run):
    result = run(server="192.0.2.1", port=9, resolver=["192.0.2.1"], view={})
    assert not result["changed"]
    assert result["results"] == []


def test_records_of_a_certificate_and_of_a_key(run, served, dns_world, certificate):
    directory, spki, whole = certificate
    owner = "_587._tcp.mx1.example.test."
    assert run({"host": "mx1.example.test", "port": 587, "certificate_path": str(directory / "cert.pem"),
                "combination": ["3 1 1", "DANE-EE Cert SHA2-512"]})["changed"]
    assert served(owner) == {f"3 1 1 {spki}", f"3 0 2 {whole}"}
    assert not run({"name": owner, "publickey_path": str(directory / "key.pem")})["changed"]
    result = run({"name": owner, "publickey_path": str(directory / "key.pem"), "combination": ["3 0 1"]})
    assert result["msg"].startswith("Cannot compute a 3 0 1 record: there is only a key")


def test_many_names_in_one_call(run, served):
    names = [f"_25._tcp.many{number}.example.test." for number in range(10)]
    result = run(*({"name": name, "rdata": [A]} for name in names))
    assert [one["name"] for one in result["results"]] == names
    assert all(served(name) == {A} for name in names)


def test_entries_for_one_name_are_taken_together(run, served, owner):
    result = run({"name": owner, "rdata": [A], "ttl": 10}, {"name": owner.upper(), "rdata": [B]})
    assert result["results"][0]["ttl"] == 10
    assert served(owner) == {A, B}
    result = run({"name": owner, "rdata": [A], "ttl": 10}, {"name": owner, "rdata": [B], "ttl": 20})
    assert "one RRset has one TTL, found 10 and 20" in result["msg"]


# ---- the view


def test_a_change_that_suits_the_view_is_made(run, served, dns_world, owner):
    dns_world.update(owner, add=[A])
    result = run({"name": owner, "rdata": [B]}, view={owner.rstrip("."): view(A)})
    assert result["results"][0]["answer"]["verdict"] == "yes"
    assert served(owner) == {A, B}


def test_a_change_that_does_not_suit_it_is_refused(run, served, dns_world, owner):
    dns_world.update(owner, add=[A, B])
    result = run({"name": owner, "rdata": [A]}, state="absent", view={owner: view(A)})
    assert result["failed"]
    assert result["msg"].startswith(f"Cannot publish at {owner!r}: {owner}: the chain of key dddd")
    assert result["answer"]["verdict"] == "no"
    assert result["answer"]["reasons"][0]["code"] == "chain-unmatched"
    assert (result["done"], result["not_done"], result["changed"]) == ([], [owner], False)
    assert served(owner) == {A, B}


def test_endpoints_nobody_looked_at_block_a_withdrawal(run, served, dns_world, owner):
    dns_world.update(owner, add=[A, B])
    result = run({"name": owner, "rdata": [B]}, state="absent", view={owner: view(A, chains_known=False)})
    assert result["answer"]["reasons"][0]["code"] == "chains-unknown"
    assert served(owner) == {A, B}


def test_a_refusal_says_where_and_for_how_long(run, served, dns_world, owner, monkeypatch):
    now = time.time()
    monkeypatch.setattr(tlsa_record.time, "time", lambda: now)
    dns_world.update(owner, add=[A, B])
    seen = view(A, seen_at=now)
    seen["chains"][0]["presented_at"] = ["192.0.2.1 port 25", "192.0.2.2 port 25"]
    result = run({"name": owner, "rdata": [A]}, state="absent", view={owner: seen})
    assert "(it is presented at 192.0.2.1 port 25, 192.0.2.2 port 25)" in result["msg"] and "s more)" not in result["msg"]
    lingering = view(A, seen_at=now, gone_at={"c" * 64: now + 7})
    result = run({"name": owner, "rdata": [A]}, state="absent", view={owner: lingering})
    assert result["msg"].endswith("(for 7 s more)")


@pytest.mark.parametrize("seen_at, text", [(-61, "is 61 s old"), (3600, "do the clocks differ?")])
def test_a_view_that_is_not_of_now_is_refused(run, served, dns_world, owner, monkeypatch, seen_at, text):
    now = time.time()
    monkeypatch.setattr(tlsa_record.time, "time", lambda: now)
    dns_world.update(owner, add=[A])
    # More of the same suits whatever is presented now, as it did then.
    assert run({"name": owner, "rdata": [B]}, view={owner: view(A, seen_at=now + seen_at)})["changed"]
    result = run({"name": owner, "rdata": [B]}, state="absent", view={owner: view(A, seen_at=now + seen_at)})
    assert text in result["msg"]
    assert served(owner) == {A, B}
    assert run({"name": owner, "rdata": [B]}, state="absent", view={owner: view(A, seen_at=now - 59)})["changed"]


@pytest.mark.parametrize("wrong", [
    {}, {"chains": [{"id": "x"}], "seen_at": 0}, {"chains": []},
    {"chains": [{"id": "x", "spki": "y", "algorithm": "rsa", "matches": [], "presented_at": 25}], "seen_at": 0}])
def test_a_view_that_cannot_be_read_is_refused(run, served, dns_world, owner, wrong):
    dns_world.update(owner, add=[A])
    result = run({"name": owner, "rdata": [B]}, view={owner: wrong})
    assert result["failed"]
    assert "the view of its endpoints cannot be read" in result["msg"]
    assert served(owner) == {A}


def test_a_view_has_to_be_of_every_name(run, dns_world, owner):
    dns_world.update(owner, add=[A])
    result = run({"name": owner, "rdata": [B]}, view={"_25._tcp.other.example.test.": view(A)})
    assert "there is no view of its endpoints" in result["msg"]
    assert "expected a dictionary, found list" in run({"name": owner, "rdata": [B]}, view={owner: []})["msg"]


def test_versions_of_other_servers_count(run, served, dns_world, owner):
    # What is there matches nothing, so taking its foreign record away would be no worse; but another server still
    # serves a version that does match, and against that one it is.
    dns_world.update(owner, add=[B])
    option = {owner: view(A, versions=[{"records": [A], "ttl": 10, "path": []}])}
    result = run({"name": owner, "rdata": [C]}, view=option)
    assert result["failed"]
    assert served(owner) == {B}
    assert run({"name": owner, "rdata": [C]}, view={owner: view(A)})["results"][0]["answer"]["verdict"] == "yes"


def test_the_last_record_goes_only_when_the_name_is_retired(run, served, dns_world, owner):
    dns_world.update(owner, add=[A])
    for option in (None, {owner: view(A)}, {owner: view(A, enabling=True)}):
        result = run({"name": owner, "rdata": [A]}, state="absent", view=option)
        assert "no record would be left" in result["msg"]
    assert run({"name": owner, "rdata": [A]}, state="absent", view={owner: view(A, retiring=True)})["changed"]
    assert served(owner) == set()


def test_everybody_is_asked_before_anything_is_changed(run, served, dns_world):
    first, last = "_25._tcp.asked-a.example.test.", "_25._tcp.asked-b.example.test."
    for owner in (first, last):
        dns_world.update(owner, add=[A, B])
    both = [{"name": first, "rdata": [B]}, {"name": last, "rdata": [B]}]
    result = run(*both, state="absent", view={first: view(A), last: view(B)})
    assert result["not_done"] == [first, last]
    assert "asked-b" in result["msg"] and "asked-a" not in result["msg"]
    assert served(first) == served(last) == {A, B}
    result = run(*both, state="absent", view={first: view(B), last: view(B)})
    assert set(result["answers"]) == {first, last}


def test_a_failure_midway_says_what_was_done(run, served, monkeypatch):
    names = [f"_25._tcp.midway{number}.example.test." for number in range(3)]
    real, sent = _update.Rfc2136.change, []

    def change(self, zone, owner, *rest):
        sent.append(owner)
        if len(sent) == 2:
            raise _update.UpdateError("Cannot change: the cable is out", rcode="")
        real(self, zone, owner, *rest)

    monkeypatch.setattr(_update.Rfc2136, "change", change)
    result = run(*({"name": name, "rdata": [A]} for name in names))
    assert result["failed"]
    assert (result["done"], result["not_done"], result["changed"]) == (names[:1], names[1:], True)
    assert [served(name) for name in names] == [{A}, set(), set()]


# ---- bad input, with nothing changed


@pytest.mark.parametrize("record, options, text", [
    ({"rdata": ["3 1 1 abc"]}, {}, "not an even number of hex digits"),
    ({"rdata": ["3 1 1 abcd"]}, {}, "matching type 1 needs 32 bytes, found 2"),
    ({"rdata": ["3 1 1 " + hashlib.sha256(b"").hexdigest()]}, {}, "the digest of no data at all"),
    ({"rdata": ["1 1 1 " + lab.DIGEST_A]}, {}, "is not for SMTP"),
    ({"combination": ["3 1"], "certificate_path": "/nowhere"}, {}, "expected three fields"),
    ({"certificate_path": "/nowhere/cert.pem"}, {}, "Cannot compute a TLSA record of '/nowhere/cert.pem'"),
    ({"rdata": [A], "ttl": -1}, {}, "TTL -1 is not in"),
    ({"rdata": [A]}, {"key_secret": lab.OTHER_SECRET}, "BADSIG: the server's secret for key dane. is another"),
    ({"rdata": [A]}, {"key_name": "stranger."}, "REFUSED: the server does not let key stranger. change"),
    ({"rdata": [A]}, {"key_secret": "no base64!"}, "its secret is missing or not base64"),
    ({"rdata": [A]}, {"zone": "other.test"}, "it is not in zone 'other.test.'"),
    ({"rdata": [A]}, {"resolver": ["example.test"]}, "Give ADDRESS or ADDRESS@PORT"),
])
def test_bad_input(run, served, owner, record, options, text):
    result = run({"name": owner, **record}, **options)
    assert result["failed"]
    assert text in result["msg"]
    assert not result.get("changed")
    assert served(owner) == set()
    assert lab.OTHER_SECRET not in json.dumps(result["msg"])


@pytest.mark.parametrize("entry, text", [
    ({"host": "mx9.example.test"}, "Cannot find the addresses of 'mx9.example.test.': there is no such host"),
    ({"host": "not a host"}, "not a host name"),
    ({"host": "mx1.insecure.test", "port": 26}, "zone 'insecure.test.' is insecure, not secure"),
    ({"name": "_26._tcp.mx1.bogus.test"}, "zone 'bogus.test.' is bogus, not secure"),
    ({"name": "_25._tcp.inside.example.test"}, "it is an alias of '_tlsa.inside.example.test.'"),
    ({"name": "a..b"}, "not a domain name"),
    ({}, "one of the following is required: name, host"),
    ({"host": "mx1.example.test", "name": "x"}, "mutually exclusive"),
])
def test_bad_names(run, entry, text):
    result = run({**entry, "rdata": [A]})
    assert result["failed"]
    assert text in result["msg"]


def test_a_given_zone_needs_no_resolver(run, served, owner):
    assert run({"name": owner, "rdata": [A]}, zone="example.test", resolver=["192.0.2.1"])["changed"]
    assert served(owner) == {A}


# ---- documentation


def test_documentation_and_arguments_agree(monkeypatch):
    documented = yaml.safe_load(tlsa_record.DOCUMENTATION)["options"]
    shared = yaml.safe_load(fragment.ModuleDocFragment.DOCUMENTATION)["options"]
    assert set(shared) == set(_dns.argument_spec())
    shared.update(yaml.safe_load(override_fragment.ModuleDocFragment.DOCUMENTATION)["options"])
    seen = {}

    class Caught(Exception):
        pass

    def catch(argument_spec, **_more):
        seen.update(argument_spec)
        raise Caught

    monkeypatch.setattr(tlsa_record, "AnsibleModule", catch)
    with pytest.raises(Caught):
        tlsa_record.main()

    def check(spec, documents):
        assert set(spec) == set(documents)
        for name, option in spec.items():
            for key in ("type", "default", "choices", "elements", "required"):
                assert option.get(key) == documents[name].get(key), (name, key)
            if "options" in option:
                check(option["options"], documents[name]["suboptions"])

    check(seen, {**documented, **shared})
    assert seen["key_secret"]["no_log"] is True


def test_without_a_view_only_alternatives_can_be_added(run, served, dns_world, owner):
    """Whatever is presented, more records in the same combinations suit it; nobody knows about anything else."""
    dns_world.update(owner, add=[_update.Record.parse(A)])
    assert run({"name": owner, "rdata": [B]}, unchecked=False)["changed"]
    assert served(owner) == {A, B}
    for state, record in (("absent", A), ("exact", C), ("present", f"3 1 2 {lab.DIGEST_A * 2}")):
        result = run({"name": owner, "rdata": [record]}, state=state, unchecked=False)
        assert result["failed"] and owner in result["msg"] and "without a view" in result["msg"]
        assert "unchecked=true" in result["msg"] and served(owner) == {A, B}
    first = "_465" + owner[3:]
    assert "without a view" in run({"name": first, "rdata": [A]}, unchecked=False)["msg"]
    assert "mutually exclusive" in run({"name": owner, "rdata": [A]}, view={}, unchecked=True)["msg"]
