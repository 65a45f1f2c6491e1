# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bad input on hosts that know nothing of DANE yet."""

from __future__ import annotations

import pathlib

import pytest
import scene
import snapshot
from words import option

PLAYBOOKS = pathlib.Path(__file__).resolve().parents[1] / "playbooks"


@pytest.mark.parametrize("playbook", ["rekey", "renew"])
def test_a_host_that_was_never_enabled(refused, playbook):
    refused(playbook, says=["mx1.example.test: no record at _25._tcp.mx1.example.test. is known", "run enable.yml first"])


def test_group_vars_that_were_not_read(refused):
    refused("enable", *option(dane_dns_server=""), says=[
        "mx1.example.test: dane_dns_server and dane_tsig", "not set", "belong beside the inventory"])


@pytest.mark.parametrize(("name", "says"), [
    ("mx.plain.test", ["_25._tcp.mx.plain.test. is insecure, not secure", "signed zone"]),
    ("nohost.example.test", ["nohost.example.test", "there is no such host"]),
    ("no host", ["mx1.example.test: dane_names, dane_services: ", "no host"]),
])
def test_name(refused, name, says):
    refused("enable", *option(dane_names=[name]), says=says)


@pytest.mark.parametrize(("record", "says"), [
    ("3 1 9", ["'3 1 9'", "matching type"]),
    ("banana", ["'banana'"]),
    ("2 1 0", ["'2 1 0'", "too large", "use 2 1 1"]),
    ("1 1 1", ["'1 1 1'", "RFC 7672"]),
])
def test_records(refused, record, says):
    refused("enable", *option(dane_records=[record]), says=["mx1.example.test: dane_records: ", *says])


@pytest.mark.parametrize(("combinations", "path", "says"), [
    (["3 1 1"], "issuer.pem", ["dane_records has no combination on an issuer"]),
    (["2 1 1"], "/nowhere/issuer.pem", ["'/nowhere/issuer.pem'", "No such file"]),
])
def test_issuers_to_publish_ahead(refused, combinations, path, says):
    refused("enable", *option(dane_records=combinations, dane_issuer_pool=[path]), says=[
        "mx1.example.test: dane_issuer_pool: Cannot", *says])


@pytest.mark.parametrize(("key", "says"), [
    ("", ["found no key for it", "expected the file with its private key in dane_csr_privatekey"]),
    ("/nowhere/mail.pem", ["expected a certificate signing request in PEM form; found: ", "No such file"]),
])
def test_a_request_of_somebody_else(refused, key, says):
    refused("enable", *option(dane_certbot_method="csr", dane_csr_request="/nowhere/mail.csr", dane_csr_privatekey=key), says=[
        "mx1.example.test: ", "dane_csr_request: Cannot use '/nowhere/mail.csr': ", *says])


def test_unknown_option(refused):
    refused("enable", *option(dane_tttl=20), says=["mx1.example.test: unknown option dane_tttl, did you mean dane_ttl?"])


def test_hosts_that_do_not_agree(refused):
    differs = option(dane_dns_timeout="{{ 3 if inventory_hostname.startswith('mx1.') else 4 }}")
    # The host that agrees with itself goes on, so this is a run in which it has no way to go either.
    refused("renew", *differs, limit="mailservers", says=[
        "mx2.example.test: dane_dns_timeout not as for mx1.example.test", "by -l", "mx1.example.test: no record at"])


def test_wrong_secret(refused, lab):
    refused("enable", *option(dane_tsig={**lab["tsig"], "secret": "d3Jvbmc="}), says=[
        "_25._tcp.mx1.example.test.", "10.99.0.11", "BADSIG", "secret for key dane. is another"])


def test_updates_refused(refused, lab):
    refused("enable", *option(dane_tsig=lab["tsig_refused"]), says=[
        "_25._tcp.mx1.example.test.", "10.99.0.11", "REFUSED", "does not let key refused. change TLSA records"])


def test_server_that_does_not_answer(refused, lab):
    refused("enable", *option(dane_dns_server=lab["hosts"]["s1"]["ipv4"], dane_dns_timeout=1, dane_dns_port=5353), says=[
        "_25._tcp.mx1.example.test.", lab["hosts"]["s1"]["ipv4"], "5353"])


def test_acme_server_down(refused):
    scene.lab("exec", "acme", "systemctl", "stop", "pebble@1")
    try:
        refused("enable", says=[
            "mx1.example.test: certbot", "acme.example.test:14000", "refused"])
    finally:
        scene.lab("exec", "acme", "systemctl", "start", "pebble@1")


def test_endpoint_without_starttls(refused):
    snapshot.execute("mx2", "postconf -e smtpd_tls_security_level=none && postfix reload")
    try:
        refused("enable", limit="mx2.example.test", says=["mx2.example.test: 10.99.0.22 port 25 offers no TLS"])
    finally:
        snapshot.execute("mx2", "postconf -e smtpd_tls_security_level=may && postfix reload")


def test_main_cf_of_somebody_else(refused):
    refused("enable", *option(dane_postfix_config="check"), says=[
        "mx1.example.test: ", "main.cf has smtpd_tls_chain_files = ", "expected /etc/postfix/dane-chain.pem"])


def test_batches(refused):
    refused(PLAYBOOKS / "batches.yml", limit="mailservers", says=[
        "mx1.example.test: this play takes its hosts in batches (serial)", "dane_wait: defer"])


def test_strategy(refused):
    refused(PLAYBOOKS / "free.yml", limit="mailservers", says=["strategy 'free'", "linear"])
