# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module with real name servers and a real TLS server. Only the addresses of hosts are put in: the loopback's."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from contextlib import contextmanager
from unittest import mock

import dns.query
import dns.tsigkeyring
import dns.update
import dns_world as lab
import pki
import pytest
import yaml
from ansible.module_utils import basic
from ansible_collections.mailops.dane.plugins.doc_fragments import dns as fragment
from ansible_collections.mailops.dane.plugins.module_utils import _dns
from ansible_collections.mailops.dane.plugins.modules import tlsa_facts

pytestmark = pytest.mark.real_dns

try:
    from ansible.module_utils.testing import patch_module_args as module_arguments
except ImportError:
    # ansible-core 2.18
    def module_arguments(arguments):
        return mock.patch.object(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode())

ROOT = pki.root()
LEAF = pki.leaf(ROOT, subject="facts.example.test", names=("facts.example.test",))
SPKI = tlsa_facts._chain.spki_digest(pki.spki(LEAF.key))


@pytest.fixture
def run(dns_world, monkeypatch, capsys):
    """A function that runs the module in the world of real servers and returns its result (dict)."""
    class World(tlsa_facts.World):
        def __init__(self, params):
            super().__init__(params)
            self.settings = dns_world.settings()

        def addresses(self, hosts):
            return {host: _dns.Addresses(host + ".", ("127.0.0.1",), "secure", 60, (host + ".",)) for host in hosts}

    monkeypatch.setattr(tlsa_facts, "World", World)

    def run_module(**arguments):
        with module_arguments({"resolver": [lab.RESOLVER], **arguments}), pytest.raises(SystemExit):
            tlsa_facts.main()
        return json.loads(capsys.readouterr().out)
    return run_module


@pytest.fixture(scope="module")
def pem(tmp_path_factory):
    path = tmp_path_factory.mktemp("chain") / "chain.pem"
    path.write_text(LEAF.key_pem + LEAF.pem)
    return str(path)


@pytest.fixture(scope="module")
def tls_port(pem):
    """The port of openssl s_server with LEAF."""
    with _server("openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", pem, "-key", pem) as port:
        yield port


@contextmanager
def _server(*command):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    server = subprocess.Popen(command, text=True, **pipes)
    try:
        found = next(filter(None, (re.match(r"ACCEPT .*:(\d+)$", line) for line in server.stdout)), None)
        if found is None:
            pytest.fail("s_server does not start")
        threading.Thread(target=server.stdout.read, daemon=True).start()
        yield int(found.group(1))
    finally:
        server.kill()
        server.wait()


def publish(world, owner, *records):
    """Put these records, and no others, at an owner name, on all servers."""
    ring = dns.tsigkeyring.from_text({"dane.": ("hmac-sha256", lab.SECRET)})
    change = dns.update.UpdateMessage("example.test.", keyring=ring)
    change.delete(owner, "TLSA")
    for record in records:
        change.add(owner, 10, "TLSA", record)
    answer = dns.query.tcp(change, "127.0.0.1", 5, port=world.places[lab.PRIMARY])
    assert answer.rcode() == 0
    time.sleep(0.2)
    world.settle()


def service(port, host="facts.example.test"):
    return {"host": host, "port": port, "starttls": "none"}


def test_match_and_mismatch_with_real_servers(run, dns_world, tls_port):
    publish(dns_world, f"_{tls_port}._tcp.facts.example.test.", f"3 1 1 {SPKI}")
    result = run(services=[service(tls_port), service(tls_port, "x.wild.example.test")])
    assert set(result) == {"changed", "ansible_facts", "invocation"} and set(result["ansible_facts"]) == {"tlsa"}
    assert result["changed"] is False
    facts = result["ansible_facts"]["tlsa"]
    verdicts = {(one["host"], one["algorithm"]): one["verdict"] for one in facts["endpoints"]}
    assert verdicts == {
        ("facts.example.test", "ecdsa"): "matched", ("facts.example.test", "rsa"): None,
        ("x.wild.example.test", "ecdsa"): "no match", ("x.wild.example.test", "rsa"): None}
    view = facts["services"][0]
    assert {server["address"] for server in view["dns"]["servers"]} == {
        "192.0.2.1", "2001:db8::1", "192.0.2.2", "192.0.2.3", "2001:db8::3"}
    assert len({server["serial"] for server in view["dns"]["servers"]}) == 1
    assert all(server["rrsig_expires"] > time.time() for server in view["dns"]["servers"])
    assert (view["security"], view["verdict"]) == ("secure", "matched")
    assert facts["examined"] == 2


def test_a_secondary_that_fell_back(run, dns_world, tls_port):
    """One secondary gives what it gave before the change, signatures and all."""
    owner = f"_{tls_port}._tcp.back.example.test."
    publish(dns_world, owner, "3 1 1 " + lab.DIGEST_A)
    old = _answers(dns_world, "192.0.2.2", owner)
    publish(dns_world, owner, f"3 1 1 {SPKI}")

    async def before(wire, _tcp, _ask):
        return _replay(old, wire)

    settings = dns_world.settings(scripted={"192.0.2.2": before})
    with mock.patch.object(dns_world, "settings", lambda: settings):
        facts = run(services=[service(tls_port, "back.example.test")])["ansible_facts"]["tlsa"]
    assert facts["verdict"] == "no match"
    fell, = [finding for finding in facts["findings"] if finding["code"] == "server-fell-back"]
    assert (fell["server"], fell["address"]) == ("ns2.example.test.", "192.0.2.2")
    assert fell["serial"] < fell["newest_serial"]
    assert any("192.0.2.2" in line and str(fell["serial"]) in line for line in facts["report"])


def _answers(world, address, owner):
    """What a server says now to the questions of a look, by type."""
    answers = {}
    for name, kind in (("example.test.", "SOA"), (owner, "TLSA")):
        question = dns.message.make_query(name, kind, want_dnssec=True)
        answers[kind] = dns.query.tcp(question, "127.0.0.1", 5, port=world.places[address])
    return answers


def _replay(answers, wire):
    question = dns.message.from_wire(wire)
    answer = answers[dns.rdatatype.to_text(question.question[0].rdtype)]
    answer.id = question.id
    return answer.to_wire()


def test_insecure_and_absent(run, tls_port):
    facts = run(services=[service(tls_port, "mx1.insecure.test"), service(tls_port, "none.example.test")])[
        "ansible_facts"]["tlsa"]
    verdicts = {one["host"]: one["verdict"] for one in facts["services"]}
    assert verdicts == {"mx1.insecure.test": "insecure", "none.example.test": "no records"}


def test_domains_lead_to_their_hosts(run):
    facts = run(domains=["example.test", "null-mx.example.test"], gather=["dns"])["ansible_facts"]["tlsa"]
    domain, nothing = facts["domains"]
    assert (domain["hosts"], domain["security"]) == (["mx1.example.test", "mx2.example.test"], "secure")
    assert [one["verdict"] for one in facts["services"]] == [None, "no records"]
    assert (domain["verdict"], nothing["verdict"]) == ("no records", "unreachable")
    assert "null MX" in nothing["reasons"][0]["text"]


def test_the_resolver_shows_what_it_has(run):
    facts = run(services=[{"host": "mx1.example.test"}], gather=["dns"])["ansible_facts"]["tlsa"]
    view = facts["services"][0]["resolver"]
    assert view["records"] == sorted([f"3 1 1 {lab.DIGEST_A}", f"2 1 1 {lab.DIGEST_B}"])
    assert (view["authentic"], view["rcode"], view["resolver"]) == (True, "NOERROR", lab.RESOLVER)
    assert 0 <= view["ttl"] <= 10 and facts["endpoints"] == [] and facts["verdict"] is None


def test_a_malformed_record_is_named_and_hides_nothing(run):
    facts = run(services=[{"host": "malformed.example.test"}], gather=["dns"])["ansible_facts"]["tlsa"]
    assert f"3 1 1 {lab.DIGEST_A}" in facts["services"][0]["resolver"]["records"]
    assert any(finding["code"] == "record-unusable" and "32 bytes" in finding["text"] for finding in facts["findings"])


def test_an_alias_at_the_owner_name(run):
    facts = run(services=[{"host": "across.example.test"}], gather=["dns"])["ansible_facts"]["tlsa"]
    assert facts["services"][0]["resolver"]["records"] == [f"3 1 1 {lab.DIGEST_B}"]
    assert facts["services"][0]["security"] == "secure"


@pytest.mark.parametrize("separate", [False, True])
def test_chain_on_disk(run, dns_world, tls_port, pem, tmp_path, separate):
    publish(dns_world, f"_{tls_port}._tcp.facts.example.test.", f"3 1 1 {SPKI}")
    files = {"chain_file": pem}
    if separate:
        (tmp_path / "cert").write_text(LEAF.pem)
        (tmp_path / "key").write_text(pki.key_pem(pki.key("another")))
        files = {"chain_file": str(tmp_path / "cert"), "key_file": str(tmp_path / "key")}
    result = run(services=[service(tls_port)], **files)
    file = result["ansible_facts"]["tlsa"]["file"]
    assert (file["verdict"], file["key"]) == ("matched", "differs" if separate else "matches")
    assert "PRIVATE" not in json.dumps(result)


@pytest.mark.parametrize("arguments, words", [
    ({"services": [{"host": "mx 1"}]}, "not a host name"),
    ({"services": [{"host": "mx1.example.test"}], "chain_file": "/nowhere/x.pem"}, "No such file"),
    ({}, "one of the following is required"),
    ({"services": [{"host": "x", "starttls": "ftp"}]}, "value of starttls must be one of"),
])
def test_bad_input_is_refused_with_a_reason(run, arguments, words):
    result = run(gather=["dns"], **arguments)
    assert result["failed"] is True and words in result["msg"] and "Traceback" not in json.dumps(result)


def test_nobody_to_ask(capsys):
    arguments = {"services": [{"host": "mx1.example.test"}], "resolver": ["127.0.0.1@9"], "query_timeout": 0.3}
    with module_arguments(arguments), pytest.raises(SystemExit):
        tlsa_facts.main()
    result = json.loads(capsys.readouterr().out)
    assert result["failed"] is True and "Cannot ask the resolver" in result["msg"]


def test_documentation_and_options_agree(monkeypatch):
    documented = {**yaml.safe_load(fragment.ModuleDocFragment.DOCUMENTATION)["options"],
                  **yaml.safe_load(tlsa_facts.DOCUMENTATION)["options"]}
    seen = {}

    def stop(argument_spec, **_rest):
        seen.update(argument_spec)
        raise SystemExit

    monkeypatch.setattr(tlsa_facts, "AnsibleModule", stop)
    with pytest.raises(SystemExit):
        tlsa_facts.main()
    assert {name: option.get("default") for name, option in seen.items()} == {
        name: option.get("default") for name, option in documented.items()}
    assert {name: option["type"] for name, option in seen.items()} == {
        name: option["type"] for name, option in documented.items()}
