# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""After enable.yml: what a host under DANE looks like, from the inside and from the outside."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

CHAIN_FILE = "/etc/postfix/dane-chain.pem"


def name_of(host):
    """The base domain of a host that testinfra is connected to."""
    return host.check_output("hostname")


def digest_of_file(host):
    """The data of ``3 1 1`` for the chain file, by the host's own openssl."""
    return host.check_output(
        f"openssl x509 -in {CHAIN_FILE} -noout -pubkey | openssl pkey -pubin -outform DER | openssl dgst -sha256 -r"
    ).split()[0]


def digest_presented(address, name):
    """The same for the leaf that Postfix presents at an address, by openssl here."""
    ip = f"[{address}]" if ":" in address else address
    shown = subprocess.run(
        ["openssl", "s_client", "-starttls", "smtp", "-connect", f"{ip}:25", "-servername", name],
        input="QUIT\n", capture_output=True, text=True, timeout=20, check=False).stdout
    leaf = re.search("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", shown, re.DOTALL)
    assert leaf, f"no certificate at {address}: {shown[-500:]}"
    public = subprocess.run(["openssl", "x509", "-noout", "-pubkey"], input=leaf.group().encode(), check=True,
                            capture_output=True).stdout
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=public, check=True,
                         capture_output=True).stdout
    return subprocess.run(["openssl", "dgst", "-sha256", "-r"], input=der, check=True,
                          capture_output=True).stdout.decode().split()[0]


def test_the_chain_file_is_for_root_alone(host):
    file = host.file(CHAIN_FILE)
    assert (file.user, file.group, file.mode) == ("root", "root", 0o600)


def test_the_chain_file_holds_the_key_first_then_leaf_and_issuer(host):
    kinds = re.findall(r"^-----BEGIN (.*)-----$", host.check_output(f"grep BEGIN {CHAIN_FILE}"), re.MULTILINE)
    assert kinds[0].endswith("PRIVATE KEY")
    assert kinds[1:] == ["CERTIFICATE"] * len(kinds[1:])
    assert len(kinds) >= 3


def test_the_ledger_is_a_local_fact(host):
    told = json.loads(host.check_output("cat /etc/ansible/facts.d/mailops_dane.fact"))
    assert list(told["names"]) == [f"_25._tcp.{name_of(host)}."] and told["operation"] is None


def test_postfix_reads_the_chain_file(host):
    assert host.check_output("postconf -h smtpd_tls_chain_files") == CHAIN_FILE


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_postfix_serves_the_chain_file(host, lab, family):
    name = name_of(host)
    address = lab["hosts"][name.partition(".")[0]][family]
    assert digest_presented(address, name) == digest_of_file(host)


def test_the_one_record_on_every_server_is_that_of_the_key(host, records):
    name, wanted = name_of(host), f"3 1 1 {digest_of_file(host)}"
    mine = {source: found for source, found in records().items() if source.startswith(f"_25._tcp.{name}. ")}
    assert len(mine) == 6
    assert {source: found for source, found in mine.items() if found != [wanted]} == {}


def test_the_ledger_can_be_read_by_people_and_holds_no_key(host):
    ledger = host.file("/var/lib/mailops-dane/ledger.json")
    assert (ledger.user, ledger.group, ledger.mode) == ("root", "root", 0o644)
    assert "PRIVATE" not in ledger.content_string


def test_what_lies_beside_it_with_a_key_is_for_root_alone(host):
    candidate = host.file("/var/lib/mailops-dane/candidate.pem")
    assert (candidate.user, candidate.group, candidate.mode) == ("root", "root", 0o600)


def test_no_operation_is_open(host):
    assert host.check_output("""python3 -c 'import json
print(json.load(open("/var/lib/mailops-dane/ledger.json"))["operation"])'""") == "None"


def test_no_version_is_about_to_be_published(host):
    """Else a rekey that follows at once would wait for what will never come."""
    told = json.loads(host.check_output("cat /var/lib/mailops-dane/ledger.json"))
    versions = [version for name in told["names"].values() for version in name["versions"]]
    assert versions and [version for version in versions if version["open_until"]] == []


def test_renewals_keep_the_key(host):
    assert host.check_output(f"grep -c '^reuse_key = True$' /etc/letsencrypt/renewal/{name_of(host)}.conf") == "1"


@pytest.mark.parametrize("playbook", ["enable", "rekey"])
def test_a_check_run_changes_nothing(play, everything, playbook):
    before = everything()
    played = play(playbook, "--check", "--diff")
    assert everything() == before
    if playbook == "enable":
        assert set(played.changed.values()) == {0}, played.output
    else:
        for name in ("mx1.example.test", "mx2.example.test"):
            assert f"_25._tcp.{name}. 10 IN TLSA 3 1 1 <key to be made on {name}>" in played.output


def test_with_the_oldest_core_nothing_differs_and_the_gate_works(play, zone_hash, file_hashes, mail):
    """Templates make other types there: what the gate reads has to be the same, to the byte."""
    def everything():
        return zone_hash(), {(host, path): about for host in mail for path, about in file_hashes(host).items()
                             if not path.startswith("/var/lib/mailops-dane")}
    before = everything()
    played = play("enable", core="2.18")
    assert set(played.changed.values()) == {0}
    assert everything() == before
    for host in mail.values():
        said = host.gate("check")
        assert said.code == 0, said.text
