# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options that several modules share."""

from __future__ import annotations

import pytest
from ansible_collections.mailops.dane.plugins.module_utils import _options
from ansible_collections.mailops.dane.plugins.module_utils._errors import DaneError, ProbeError
from ansible_collections.mailops.dane.plugins.module_utils._rollover import Timing


def test_the_defaults_are_those_of_the_core():
    assert _options.timing({}) == _options.timing(None) == Timing()
    assert {name: one["default"] for name, one in _options.TIMING["options"].items()} == Timing()._asdict()


def test_what_is_not_given_is_the_default():
    assert _options.timing({"factor": 3, "floor": None}) == Timing(factor=3)
    assert _options.timing({"factor": 1, "floor": 0, "slack": 0, "linger": 0, "ceiling": 0}).lifetime(7) == 7


@pytest.mark.parametrize(("name", "value"), [
    ("factor", 0), ("factor", -1), ("floor", -1), ("slack", -1), ("linger", -1), ("ceiling", -1)])
def test_times_that_shorten_a_wait_to_nothing_are_refused(name, value):
    with pytest.raises(DaneError, match=f"{name}={value}"):
        _options.timing({name: value})


def test_endpoints():
    names = [{"name": "mx1.example.test", "addresses": ["192.0.2.1", "2001:db8::1"]}]
    services = [{"port": 25, "starttls": "smtp"}, {"port": 465, "starttls": "none"}]
    found = _options.endpoints(names, services)
    assert {(one["address"], one["port"], one["starttls"]) for one in found} == {
        (address, port, starttls) for address in names[0]["addresses"]
        for port, starttls in ((25, "smtp"), (465, "none"))}
    assert {one["name"] for one in found} == {"mx1.example.test"}
    assert {one["algorithm"] for one in found} == {"ecdsa", "rsa"} and {one["sni"] for one in found} == {
        "", "mx1.example.test"}
    assert _options.endpoints([], services) == []


def test_a_base_domain_without_an_address_is_named():
    with pytest.raises(DaneError, match="mx2"):
        _options.endpoints([{"name": "mx2.example.test", "addresses": []}], [])


def test_an_address_that_is_none_is_named():
    with pytest.raises(ProbeError, match="not.an.address"):
        _options.endpoints([{"name": "mx1.example.test", "addresses": ["not.an.address"]}],
                           [{"port": 25, "starttls": "smtp"}])


def test_required():
    made = _options.required(_options.NAMES)
    assert made["required"] is True and "default" not in made and "default" in _options.NAMES
