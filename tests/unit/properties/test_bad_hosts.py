# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What dane-gate reads on a mail host: its configuration, what openssl and postconf print, the words of operators."""

from __future__ import annotations

import datetime
import json
import time

import pki
import pytest
from ansible_collections.mailops.dane.plugins.module_utils import _gate, _host, _notify, _options, _probe
from ansible_collections.mailops.dane.plugins.module_utils._rollover import Timing
from ansible_collections.mailops.dane.plugins.module_utils._waivers import parse_waivers
from hostile import ODD, changed, check_message, examples, hand_edited, json_values, odd, places, refusal_or
from hypothesis import given
from hypothesis import strategies as st

UNIT = {
    "addresses": {pki.NAME: ["192.0.2.1", "2001:db8::1"]}, "chain_file": "/etc/postfix/dane.pem",
    "dns": {"resolver": ["192.0.2.53"], "query_timeout": 2.0, "ip_versions": [4, 6], "extra_servers": []},
    "notify": {"to": ["root"], "metrics_file": "/var/lib/x/dane.prom", "host": "mx1"}, "handshake_timeout": 60,
    "lineages": ["/etc/letsencrypt/live/a", "/etc/letsencrypt/live/b"], "names": [pki.NAME],
    "service": "postfix", "services": [{"port": 25, "starttls": "smtp"}], "state_dir": "/var/lib/mailops-dane",
    "timing": Timing()._asdict(),
    "waive": [{"what": "server", "name": "192.0.2.1", "until": "2999-12-31", "reason": "gone"}],
}


def read(directory, text):
    path = directory / "unit.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    unit = refusal_or(_host.read_configuration, str(path))
    if unit is None:
        assert _host.main(["--config", str(path), "status"]) == 1
    return unit


def test_the_unit_is_read(tmp_path):
    assert read(tmp_path, json.dumps(UNIT)) == UNIT


@given(hand_edited(UNIT))
@examples(300)
def test_a_unit_edited_by_hand_works_or_is_refused(tmp_path_factory, edition):
    """What is not refused can be used for everything that is made of it."""
    unit = read(tmp_path_factory.getbasetemp(), json.dumps(edition[0]))
    if unit is not None:
        usable(unit)


def usable(unit):
    assert _options.timing(unit["timing"]).lifetime(10) > 0
    assert all(isinstance(waiver.until, float) for waiver in parse_waivers(unit.get("waive")))
    refusal_or(_host._endpoints, unit)
    _notify.Settings.of(unit)
    time.time() + unit["handshake_timeout"]
    assert all(isinstance(path, str) and path.startswith("/") for path in unit["lineages"])


@pytest.mark.parametrize("where", [path for path in places(UNIT) if path], ids=lambda path: "/".join(map(str, path)))
def test_each_field_of_a_unit_with_each_odd_value(tmp_path, where):
    for new in ODD:
        unit = read(tmp_path, json.dumps(changed(UNIT, where, new)))
        if unit is not None:
            usable(unit)


def test_a_truncated_unit_is_refused(tmp_path):
    text = json.dumps(UNIT)
    for size in range(0, len(text) - 1, 7):
        assert read(tmp_path, text[:size]) is None


@pytest.mark.parametrize("text", ["[" * 200000, '{"a":' * 200000, "\x00", "\ufeff{}", b"\xff\xfe", '{"names": [], "names": []}',
                                  json.dumps(UNIT)[:-1] + ', "names": ["other.test"]}', "1" * 5000, "NaN"],
                         ids=lambda text: f"{text!r:.20}")
def test_a_hostile_unit_is_refused(tmp_path, text):
    assert read(tmp_path, text) is None


@given(json_values)
def test_any_json_is_no_unit(tmp_path_factory, value):
    assert read(tmp_path_factory.getbasetemp(), json.dumps(value)) is None


# ----------------------------------------------------------------------------------------------------- options, waivers


@given(st.dictionaries(st.sampled_from((*Timing._fields, "x", "")), odd, max_size=3) | odd)
def test_a_timing_is_made_of_whole_numbers_or_refused(options):
    made = refusal_or(_options.timing, options)
    if made is not None:
        assert all(isinstance(value, int) and not isinstance(value, bool) and value >= 0 for value in made)
        assert made.factor >= 1


days = st.sampled_from(("2026-12-31", "20261231", "2026-W53-4", "2026-12-31T00:00", "2026-12-31x", "2026-02-30", "9999-12-31",
                        "0001-01-01", "10000-01-01", "\u0662\u0660\u0662\u0666-12-31", " 2026-12-31 ", "31.12.2026"))


@given(hand_edited(UNIT["waive"]) | days.map(lambda day: ([{**UNIT["waive"][0], "until": day}], (0, "until"), day)))
@examples(300)
def test_a_waiver_is_read_right_or_refused(edition):
    waivers = refusal_or(parse_waivers, edition[0])
    for given_one, waiver in zip(edition[0], waivers) if waivers else ():
        year, month, day = map(int, str(given_one["until"]).strip().split("-"))
        assert waiver.until == datetime.datetime(year, month, day, tzinfo=datetime.timezone.utc).timestamp() + 86400
        assert str(waiver) and waiver.what in ("server", "endpoint")


# --------------------------------------------------------------------------------------------------- what programs print


ENDPOINT = {"name": pki.NAME, "address": "192.0.2.1", "port": 25, "starttls": "none", "algorithm": "ecdsa", "sni": ""}
ROOT = pki.root("Root of bad hosts")
LEAF = pki.leaf(ROOT)
GOOD = (f"CONNECTED(00000003)\n---\nCertificate chain\n 0 s:CN = mx1\n   i:CN = Root\n{LEAF.pem} 1 s:CN = Root\n"
        f"   i:CN = Root\n{ROOT.pem}---\nServer certificate\nsubject=CN = mx1\n---\n")


def shaken(output, in_time=True):
    """What the probe makes of the output of openssl (text)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_probe, "_run", lambda *_arguments: (output, in_time))
        return _probe._shake(dict(ENDPOINT), "openssl", "mx", 1, lambda: float(pki.NOW), None)


def test_good_output_is_a_chain():
    assert shaken(GOOD)["outcome"] == "chain"


@given(st.integers(0, len(GOOD)) | st.tuples(st.integers(0, len(GOOD)), st.text(max_size=5) | st.sampled_from((
    "---\n", "-----BEGIN CERTIFICATE-----\n", "Certificate chain\n", "alert number 40", "\x00", "-----END CERTIFICATE-----\n",
    "s:CN = -----BEGIN CERTIFICATE-----\n"))), st.booleans())
@examples(200)
def test_spoiled_output_is_this_chain_or_silence(change, in_time):
    """Half of a chain is no other chain."""
    output = GOOD[:change] if isinstance(change, int) else GOOD[:change[0]] + change[1] + GOOD[change[0]:]
    outcome = shaken(output, in_time)
    json.dumps(outcome, allow_nan=False).encode()
    if outcome["outcome"] == "chain":
        assert outcome["chain"] == shaken(GOOD)["chain"]
    else:
        assert outcome["chain"] is None and outcome["detail"]


@given(st.text(max_size=200))
def test_noise_is_silence(output):
    assert shaken(output)["outcome"] in ("silent", "no-tls", "no-chain-for-algorithm")


ADDRESSES = st.lists(odd | st.sampled_from(("192.0.2.1", "::1%a\x00b", "::1%eth0", 5)), max_size=2)


@given(st.fixed_dictionaries({"name": st.sampled_from((pki.NAME, "mx1\x00", "-x", "a b")) | odd, "addresses": ADDRESSES,
                              "ttl": odd}),
       st.fixed_dictionaries({"port": odd | st.sampled_from((25, "25", 70000)), "starttls": st.sampled_from(("smtp", "x"))}))
@examples(300)
def test_endpoints_can_be_looked_at_or_are_refused(name, service):
    found = refusal_or(_options.endpoints, [name], [service])
    for endpoint in found or ():
        command = _probe._command(endpoint, "openssl", "mx")
        assert all(isinstance(word, str) and "\x00" not in word and word.isascii() for word in command)
        assert 1 <= endpoint["port"] <= 65535 and isinstance(endpoint["address"], str)


DEST = "/etc/postfix/dane.pem"
LINES = st.sampled_from((
    "smtp/inet/smtpd_tls_chain_files = /etc/postfix/dane.pem", "smtp/inet/smtpd_tls_chain_files=/etc/postfix/dane.pem",
    "smtp/inet/smtpd_tls_chain_files = ", "smtp/inet/smtpd_tls_chain_files = /other", "smtp/inet/smtpd_tls_cert_file = ",
    "smtp/inet/smtpd_tls_cert_file = /other", "127.0.0.1:25/inet/tls_server_sni_maps = hash:/x",
    "submission/inet/syslog_name = x",
    "unix/unix/x/smtpd_tls_eccert_file = none", "", "=", "smtpd_tls_chain_files", "a=b=c", "\x00", "\u2028"))


@given(st.lists(LINES | st.text(max_size=20), max_size=5),
       st.sampled_from((DEST, "", " ", f"{DEST}, /other", "/other", "\x00")),
       st.sampled_from(("", "hash:/x")), st.sampled_from((0, 0, 0, 1, 127)))
@examples(200)
def test_what_postconf_prints(lines, chain_files, sni_maps, code):
    """An override that makes a service present something else is never overlooked."""
    printed = {"smtpd_tls_chain_files": chain_files, "tls_server_sni_maps": sni_maps, "-P": "\n".join(lines)}
    objections = _gate.postfix_objections(DEST, run=lambda command: (code, printed[command[-1]]))
    assert all(isinstance(objection, str) for objection in objections)
    others = [line for line in lines if "_chain_files" in line and "=" in line and not line.endswith(DEST)] + [
        line for line in lines if line.endswith(("/other", "hash:/x", "none")) and "=" in line]
    if code or chain_files != DEST or sni_maps or others:
        assert objections
    if not code and chain_files == DEST and not sni_maps and not any("tls" in line for line in lines):
        assert objections == []


@pytest.mark.parametrize("option", ["timing", "handshake_timeout", "waive", "services"])
def test_an_error_in_the_unit_names_the_file_and_the_next_step(tmp_path, option):
    path = tmp_path / "unit.json"
    path.write_text(json.dumps({**UNIT, option: {"x": 1} if option in ("timing", "services") else 10**30}))
    with pytest.raises(_host.DaneError) as caught:
        _host.read_configuration(str(path))
    check_message(caught.value)
    assert str(path) in caught.value.message and "enable.yml" in caught.value.message
