# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is wrong with the options of the roles."""

from __future__ import annotations

import re

import pytest
from ansible_collections.mailops.dane.plugins.module_utils import _plan, _role_options
from ansible_collections.mailops.dane.plugins.module_utils._errors import PlanError, RecordError
from rollover_values import OWNER

DAY = 86400
YEAR = 365 * DAY


@pytest.mark.parametrize(("text", "seconds"), [
    ("365d", YEAR), ("90d", 90 * DAY), ("52w", 364 * DAY), ("8760h", YEAR), (" 1h ", 3600), ("99999w", 99999 * 7 * DAY)])
def test_a_duration(text, seconds):
    assert _role_options.duration(text) == seconds


@pytest.mark.parametrize("text", [
    "", "365", 365, "0d", "-1d", "1.5d", "1y", "3m", "3M", "90 d", "d", "90D", "100000d", "1d1h", None, [], "\u0661d"])
def test_a_duration_that_is_none(text):
    with pytest.raises(PlanError, match="expected a number of hours, days or weeks, such as 8760h, 365d or 52w"):
        _role_options.duration(text)


def test_ages_that_cannot_be_used_are_all_named():
    for possible in (("365d", 10), ("365d", "0"), ("1h", 50)):
        assert _role_options.impossible_ages(*possible) == []
    age, spread = _role_options.impossible_ages("1y", 51)
    assert age.startswith("dane_key_max_age: Cannot use '1y'")
    assert spread == "dane_key_spread: Cannot use 51: expected per cent of dane_key_max_age, 0 to 50"
    for wrong in (-1, 1.5, "10%", True, None, 100):
        assert len(_role_options.impossible_ages("365d", wrong)) == 1


STORE = {"store": "offline", "method": "csr", "combinations_wanted": ["3 1 1"], "key_types": [], "export": "/srv/keys"}


def test_where_a_standby_key_can_be_kept_offline():
    assert _role_options.impossible_store(**STORE) == []
    for possible in ({"key_types": ["rsa"]}, {"export": "~/keys"}, {"combinations_wanted": ["2 1 1", "3 1 2"]}):
        assert _role_options.impossible_store(**{**STORE, **possible}) == []
    wrong = {"method": "lineage", "combinations_wanted": ["2 1 1"], "key_types": ["rsa", "ecdsa"], "export": ""}
    assert _role_options.impossible_store(**{**STORE, **wrong, "store": "host"}) == []


@pytest.mark.parametrize("wrong, said", [
    ({"method": "lineage"}, "certbot takes no key that it has not made into a lineage of its own.*dane_certbot_method: csr"),
    ({"combinations_wanted": ["2 1 1", "2 0 1"]}, "records on issuers wait for no key.*dane_standby: false"),
    ({"key_types": ["rsa", "ecdsa"]}, "found rsa and ecdsa in dane_key_types, expected one"),
    ({"export": "keys"}, "found 'keys' in dane_standby_export, expected a directory"),
    ({"export": ""}, "found '' in dane_standby_export, expected a directory"),
])
def test_where_it_cannot(wrong, said):
    (told,) = _role_options.impossible_store(**{**STORE, **wrong})
    assert re.match(f"dane_standby_store: Cannot keep a standby key offline: {said}", told)


# ---------------------------------------------------------------------------------------------------------- the options


def test_unknown_options_are_named_with_the_nearest_known_one():
    known = {"dane_names", "dane_services", "dane_wait"}
    found = _role_options.unknown_options({"dane_nmaes", "dane_names", "danish", "dane_private_x", "dane_zzzzzz"}, known)
    assert found == ["unknown option dane_nmaes, did you mean dane_names?", "unknown option dane_zzzzzz"]


def test_what_a_run_said_is_no_unknown_option_to_the_next():
    """AWX makes variables of it for the later nodes of a workflow."""
    assert _role_options.unknown_options({"dane_result", "dane_zzzzzz"}, {"dane_names"}) == ["unknown option dane_zzzzzz"]


def test_hosts_have_to_agree_on_what_one_of_them_says_for_all():
    first = {"dane_dns_server": "192.0.2.1", "dane_tsig": {"name": "a", "secret": "b"}, "dane_names": ["mx1.example.org"]}
    assert _role_options.not_shared({**first, "dane_names": ["mx2.example.org"], "dane_linger": 900}, first) == []
    other = {"dane_dns_server": "192.0.2.2", "dane_wait": "defer", "dane_tsig": {"name": "a", "secret": "c"}}
    assert _role_options.not_shared(other, first) == ["dane_dns_server", "dane_tsig", "dane_wait"]


@pytest.mark.parametrize(("given", "kept"), [
    (["3 1 1"], ["3 1 1"]), (["DANE-EE SPKI SHA2-256", "3 1 2"], ["3 1 1", "3 1 2"]),
    (["2 1 1"], ["2 1 1"]), (["3 1 1", "DANE-TA SPKI SHA2-256", "2 0 1"], ["3 1 1", "2 1 1", "2 0 1"]),
])
def test_combinations_that_can_be_kept(given, kept):
    assert _role_options.combinations(given) == kept


@pytest.mark.parametrize(("given", "words"), [
    (["1 1 1"], "PKIX"), (["0 1 1"], "PKIX"), (["3 0 1"], "renewal.*use 3 1 1"), (["3 1 0"], "too large"), ([], "empty"),
    (["2 0 0"], "too large.*use 2 1 1"), (["2 1 0"], "too large"),
])
def test_combinations_that_cannot_be_kept(given, words):
    with pytest.raises(PlanError, match=words):
        _role_options.combinations(given)


@pytest.mark.parametrize("given", [["3 1"], ["3 1 1 00"], ["3 1 9"], ["x y z"], [None], [311]])
def test_combinations_that_are_none(given):
    with pytest.raises(RecordError):
        _role_options.combinations(given)


def test_owner_names():
    assert _role_options.owner_names(["MX1.example.test.", "b.test"], [{"port": 25}, {"port": 465}]) == [
        OWNER, "_465._tcp.mx1.example.test.", "_25._tcp.b.test.", "_465._tcp.b.test."]
    with pytest.raises(RecordError):
        _role_options.owner_names(["not a host"], [{"port": 25}])


def test_option_names():
    entries = {"main": {"options": {"b": {}, "a": {}}}, "other": {}, "more": {"options": None}}
    assert _role_options.option_names({"argument_specs": entries}) == ["a", "b"]


def test_options_that_cannot_be_used_are_all_named():
    service = {"port": 25, "starttls": "smtp"}
    assert _role_options.impossible_options(["3 1 1"], ["mx1.example.test"], [service]) == []
    assert _role_options.impossible_options(["2 1 1"], ["mx1.example.test"], [service], ["issuer.pem"]) == []
    records, names = _role_options.impossible_options(["1 1 1"], ["no host"], [service])
    assert records.startswith("dane_records: Cannot keep '1 1 1'")
    assert names.startswith("dane_names, dane_services: Cannot") and "no host" in names
    (pool,) = _role_options.impossible_options(["3 1 1"], ["mx1.example.test"], [service], ["issuer.pem"])
    assert pool.startswith("dane_issuer_pool: Cannot publish issuers ahead: dane_records has no combination on an issuer")


# --------------------------------------------------------------------------------------- where endpoints are looked at


@pytest.mark.parametrize(("endpoints", "said"), [
    ({"mx2.example.test": ["192.0.2.1"]}, "endpoints of 'mx2.example.test': dane_names has mx1.example.test"),
    ({"mx1.example.test": []}, "endpoints of 'mx1.example.test': expected a list of addresses, found \\[\\]"),
    ({"mx1.example.test": "192.0.2.1"}, "expected a list of addresses, found '192.0.2.1'"),
    ({"mx1.example.test": ["192.0.2.1", "mx1"]}, "'mx1' does not appear to be an IPv4 or IPv6 address"),
    (["192.0.2.1"], "expected base domains, each with a list of addresses"),
])
def test_endpoints_that_cannot_be_looked_at(endpoints, said):
    service = {"port": 25, "starttls": "smtp"}
    (told,) = _role_options.impossible_options(["3 1 1"], ["mx1.example.test"], [service], [], endpoints)
    assert re.match(f"dane_endpoints: Cannot look at (the )?.*{said}", told)


def test_endpoints_are_looked_at_where_the_operator_says():
    found = [{"name": "mx1.example.test", "addresses": ["198.51.100.1"], "ttl": 60, "problem": ""},
             {"name": "mx.example.test", "addresses": [], "ttl": 0, "problem": "no such name"}]
    given = {"MX1.example.test.": ["192.0.2.1", "2001:db8::1"]}
    assert _role_options.impossible_options(["3 1 1"], ["mx1.example.test"], [{"port": 25}], [], given) == []
    assert _plan.looked_at(found, given) == [{**found[0], "addresses": ["192.0.2.1", "2001:db8::1"]}, found[1]]
    assert _plan.looked_at(found, {"mx.example.test": ["192.0.2.2"]})[1] == {
        "name": "mx.example.test", "addresses": ["192.0.2.2"], "ttl": 0, "problem": ""}
    assert _plan.looked_at(found, {}) == found
