# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What certbot is asked for, and when it is not asked at all."""

from __future__ import annotations

import pytest
from ansible_collections.mailops.dane.plugins.module_utils import _certbot

INI = "/etc/letsencrypt/mailops-dane-rfc2136.ini"
GOOD = {"server": "192.0.2.53", "name": "acme-mx1.", "secret": "c2VjcmV0IHNlY3JldA=="}
ALL_OPTIONS = ("standalone", "webroot", "dns-rfc2136", "arguments", "auto")


# ------------------------------------------------------------------------------------------------------------- versions


@pytest.mark.parametrize(("said", "number"), [
    ("certbot 1.10.0\n", (1, 10)), ("certbot 2.1.0", (2, 1)), ("certbot 5.0.0", (5, 0)), ("certbot 1.12.0 ", (1, 12)),
    ("a warning of some library\ncertbot 3.1.0.dev0", (3, 1)), ("certbot 10.2", (10, 2))])
def test_versions_that_will_do(said, number):
    assert _certbot.version(said) == number
    assert _certbot.objections(said, "auto", []) == []


@pytest.mark.parametrize("said", ["certbot 0.40.0", "certbot 1.9.0", "certbot 0.31.0\n"])
def test_a_certbot_that_is_too_old_is_refused_with_the_version_found_and_wanted(said):
    (told,) = _certbot.objections(said, "standalone", [])
    assert told.startswith("Cannot use certbot " + ".".join(said.split()[1].split(".")[:2]) + ":")
    assert "1.10 or newer is wanted" in told and "--key-type" in told


@pytest.mark.parametrize("said", ["", "sh: certbot: not found", "certbot", "Traceback ... certbot crashed"])
def test_a_certbot_that_says_no_version_is_quoted(said):
    (told,) = _certbot.objections(said, "standalone", [])
    assert repr(said) in told and "install certbot 1.10 or newer" in told


def test_a_new_lineage_keeps_its_key_from_the_first_day():
    for said in ("certbot 1.12.0", "certbot 5.0.0"):
        assert _certbot.key_arguments(said, replace=False) == ["--reuse-key"]


@pytest.mark.parametrize("said", ["certbot 1.26.0", "certbot 2.1.0", "certbot 5.0.0", ""])
def test_a_key_is_replaced_in_one_run_that_keeps_the_next_one(said):
    assert set(_certbot.key_arguments(said, replace=True)) == {"--reuse-key", "--new-key", "--force-renewal"}


@pytest.mark.parametrize("said", ["certbot 1.10.0", "certbot 1.12.0", "certbot 1.21.0", "certbot 1.25.0"])
def test_without_new_key_it_is_replaced_by_not_reusing_it(said):
    assert _certbot.key_arguments(said, replace=True) == ["--force-renewal"]


# ------------------------------------------------------------------------------------------------------- authenticators


@pytest.mark.parametrize(("option", "arguments"), [
    ("auto", ["--standalone"]), ("standalone", ["--standalone"]), ("webroot", ["--webroot", "--webroot-path", "/srv/www"]),
    ("dns-rfc2136", ["--dns-rfc2136", "--dns-rfc2136-credentials", INI, "--dns-rfc2136-propagation-seconds", "7"]),
    ("arguments", [])])
def test_arguments_of_each_authenticator(option, arguments):
    assert _certbot.authenticator_arguments(option, "/srv/www", INI, 7) == arguments


def settings(option):
    """The renewal settings as text; those that are only changed where they are with a mark."""
    return [f"{one['name']} = {one['value']}" + "?" * one["only_there"]
            for one in _certbot.renewal_settings(option, ["mx1.example.test", "mail.example.test"], "/srv/www", INI, 7)]


def test_renewals_keep_the_key_whatever_the_authenticator():
    assert all(settings(option)[0] == "reuse_key = True" for option in ALL_OPTIONS)


def test_renewals_go_the_way_of_the_option():
    assert settings("standalone")[1:] == ["authenticator = standalone"]
    assert settings("webroot")[1:] == [
        "authenticator = webroot", "webroot_path = /srv/www,", "mx1.example.test = /srv/www?",
        "mail.example.test = /srv/www?"]
    assert settings("dns-rfc2136")[1:] == [
        "authenticator = dns-rfc2136", f"dns_rfc2136_credentials = {INI}", "dns_rfc2136_propagation_seconds = 7"]


@pytest.mark.parametrize("option", ["auto", "arguments"])
def test_where_nothing_is_said_renewals_stay_as_they_are(option):
    assert settings(option) == ["reuse_key = True"]


@pytest.mark.parametrize(("name", "words"), [
    ("webroot", "Set dane_certbot_authenticator: webroot, and dane_certbot_webroot"),
    ("dns-rfc2136", "Set dane_certbot_authenticator: dns-rfc2136, and dane_certbot_rfc2136"),
    ("nginx", "Set dane_certbot_authenticator: arguments, and dane_certbot_arguments: [--authenticator, nginx, ...]")])
def test_a_lineage_that_is_renewed_in_another_way_is_named(name, words):
    lines = ["authenticator = standalone", f"authenticator = {name}"]
    (told,) = _certbot.objections("certbot 2.1.0", "auto", lines)
    assert f"is renewed by {name}" in told and words in told
    for option in ALL_OPTIONS[:-1]:
        assert _certbot.objections("certbot 2.1.0", option, lines) == []


def test_one_that_is_renewed_by_standalone_is_what_auto_means():
    assert _certbot.objections("certbot 2.1.0", "auto", ["authenticator = standalone", "authenticator=standalone "]) == []


# -------------------------------------------------------------------------------------------------------------- options


def test_the_credentials_file():
    assert _certbot.rfc2136_credentials(GOOD) == (
        "dns_rfc2136_server = 192.0.2.53\ndns_rfc2136_port = 53\ndns_rfc2136_name = acme-mx1.\n"
        "dns_rfc2136_secret = c2VjcmV0IHNlY3JldA==\ndns_rfc2136_algorithm = HMAC-SHA256\n")
    assert "port = 5353\n" in _certbot.rfc2136_credentials({**GOOD, "port": "5353"})


def test_an_algorithm_in_small_letters_is_not_taken_for_md5():
    """The plugin looks it up as it is written, and falls back to HMAC-MD5."""
    assert "algorithm = HMAC-SHA512\n" in _certbot.rfc2136_credentials({**GOOD, "algorithm": "hmac-sha512"})


def test_options_that_are_complete():
    assert _certbot.impossible_authenticator("auto") == _certbot.impossible_authenticator("standalone") == []
    assert _certbot.impossible_authenticator("arguments", "", {"server": "ns0"}) == []
    assert _certbot.impossible_authenticator("webroot", "/var/www/html") == []
    for more in ({}, {"server": "2001:db8::53"}, {"port": 5353}, {"algorithm": "HMAC-SHA1"}, {"propagation": "5"}):
        assert _certbot.impossible_authenticator("dns-rfc2136", "", {**GOOD, **more}) == []


@pytest.mark.parametrize("webroot", ["", "html", "/a,/b", "/a b", "/a\nb", None])
def test_a_webroot_that_is_none(webroot):
    (told,) = _certbot.impossible_authenticator("webroot", webroot)
    assert told.startswith("dane_certbot_webroot: Cannot use")


@pytest.mark.parametrize(("more", "word"), [
    ({"server": "ns0.example.org"}, "server is 'ns0.example.org', expected an IP address"), ({"server": None}, "server"),
    ({"name": ""}, "name"), ({"name": "a\nb"}, "name"), ({"secret": ""}, "secret is missing or not Base64"),
    ({"secret": "x\ndns_rfc2136_server = 192.0.2.1"}, "secret"), ({"algorithm": "sha256"}, "hmac-sha256"),
    ({"port": 0}, "port is 0"), ({"port": "x"}, "port"), ({"port": 65536}, "port"), ({"propagation": 0}, "propagation"),
    ({"propagation": True}, "propagation")])
def test_options_of_rfc2136_that_cannot_be_used_are_named(more, word):
    (told,) = _certbot.impossible_authenticator("dns-rfc2136", "", {**GOOD, **more})
    assert told.startswith("dane_certbot_rfc2136: ") and word in told


def test_everything_that_is_missing_is_named_at_once_and_no_secret():
    (told,) = _certbot.impossible_authenticator("dns-rfc2136", "", {})
    assert all(word in told for word in ("server", "name", "secret"))
    (told,) = _certbot.impossible_authenticator("dns-rfc2136", "", {**GOOD, "secret": "not base64!"})
    assert "not base64!" not in told


# ------------------------------------------------------------------------------------------------------ damaged lineages


NAMES = ["mx1.example.test", "mx1.example.test-2"]
WHOLE = [f"/le/{path}" for name in NAMES for path in [f"renewal/{name}.conf", *(
    f"live/{name}/{part}.pem" for part in ("privkey", "cert", "chain", "fullchain"))]]


def damages(there):
    return _certbot.damages(NAMES, ["/le/renewal/www.example.test.conf", *there], "/le")


def test_lineages_that_are_whole_or_not_there():
    assert damages(WHOLE) == damages([]) == damages(WHOLE[:5]) == []


def test_files_that_somebody_else_keeps_fresh_are_no_damage():
    assert damages([path for path in WHOLE if not path.endswith(".conf")]) == []


@pytest.mark.parametrize("missing", ["privkey", "cert", "chain", "fullchain"])
def test_a_lineage_that_lacks_a_part_is_named_with_what_to_do(missing):
    gone = f"/le/live/{NAMES[1]}/{missing}.pem"
    (said,) = damages([path for path in WHOLE if path != gone])
    assert f"lineage {NAMES[1]} is damaged: {gone} is missing" in said
    assert "certbot update_symlinks" in said and f"certbot delete --cert-name {NAMES[1]}" in said


def test_of_a_lineage_only_its_configuration_or_one_file_is_left():
    for left, count in ((f"/le/renewal/{NAMES[0]}.conf", 4), (f"/le/live/{NAMES[0]}/cert.pem", 3)):
        (said,) = damages([left])
        assert said.count("/live/") == count


# ------------------------------------------------------------------------------------------ requests of somebody else's

REQUEST, KEY_FILE = "/etc/ssl/mail.csr", "/etc/ssl/private/mail.pem"
WANTED = ["mx1.example.org", "mx.example.net"]


def of_key(letter):
    """As community.crypto writes the digests of a key."""
    return {"public_key_fingerprints": {"sha256": ":".join([letter * 2] * 32), "sha512": "00"}}


def request(letter="a", names=(*WANTED, "www.example.org"), **more):
    return {**of_key(letter), "signature_valid": True, "subject_alt_name": [f"DNS:{name}" for name in names], **more}


def objections(info, key=None):
    return _certbot.request_objections(info, key or of_key("a"), REQUEST, KEY_FILE, WANTED)


def test_options_of_a_request_that_go_together():
    assert _certbot.impossible_request(REQUEST, "csr", KEY_FILE) == []
    assert _certbot.impossible_request("", "csr", KEY_FILE) == _certbot.impossible_request("", "lineage", "") == []


@pytest.mark.parametrize(("path", "method", "key_path", "words"), [
    (REQUEST, "csr", "", ("found no key for it", "dane_csr_privatekey", "could never be in the chain file")),
    (REQUEST, "lineage", KEY_FILE, ("found dane_certbot_method: lineage, expected csr",)),
    ("mail.csr", "csr", KEY_FILE, ("expected a file on the mail host by its whole path",)),
    ("-----BEGIN CERTIFICATE REQUEST-----", "csr", KEY_FILE, ("expected a file on the mail host by its whole path",)),
])
def test_options_of_a_request_that_do_not_are_named(path, method, key_path, words):
    (told,) = _certbot.impossible_request(path, method, key_path)
    assert told.startswith(f"dane_csr_request: Cannot use {path!r}: ") and all(word in told for word in words)


def test_a_request_for_its_key_and_all_names():
    assert objections(request()) == []
    assert objections(request(names=["MX1.example.org", "*.example.net"])) == []


@pytest.mark.parametrize(("names", "found", "missing"), [
    (["mx1.example.org"], "mx1.example.org", "mx.example.net"),
    (["*.example.org", "example.net"], "*.example.org, example.net", "mx.example.net"),
    (["*.net", "mx1.example.org"], "*.net, mx1.example.org", "mx.example.net"),
    ([], "none", "mx1.example.org, mx.example.net"),
])
def test_names_that_a_request_lacks_are_named(names, found, missing):
    (told,) = objections(request(names=names))
    assert told == (f"dane_csr_request: Cannot use '{REQUEST}': expected subject alternative names that cover dane_names, "
                    f"found {found}; {missing} is missing. Make it anew for all of them")


def test_a_request_without_alternative_names():
    """Whatever its common name is: no CA of today goes by that."""
    (told,) = objections(request(subject_alt_name=None, subject={"commonName": WANTED[0]}))
    assert "found none; mx1.example.org, mx.example.net is missing" in told
    (told,) = objections(request(subject_alt_name=["IP:192.0.2.1", f"email:{WANTED[1]}", f"DNS:{WANTED[0]}"]))
    assert "found mx1.example.org; mx.example.net is missing" in told


def test_a_request_for_another_key():
    (told,) = objections(request("b"))
    assert told == (f"dane_csr_request: Cannot use '{REQUEST}': expected a request for the key in {KEY_FILE}, "
                    "aaaaaaaaaaaaaaaa, found one for key bbbbbbbbbbbbbbbb. Name the file of its own key, or make it for that "
                    "one")


def test_a_request_whose_signature_is_not_its_keys():
    (told,) = objections(request(signature_valid=False))
    assert told.startswith(f"dane_csr_request: Cannot use '{REQUEST}': ") and "a signature that does not verify" in told


def test_everything_that_is_wrong_with_a_request_is_named_at_once():
    assert len(objections(request("b", names=[], signature_valid=False))) == 3


@pytest.mark.parametrize("info", [
    {"msg": "No such file\nor directory"}, {"public_key_fingerprints": None, "msg": "No such file or directory"}])
def test_files_that_cannot_be_read_are_named_with_the_option_and_the_cause(info):
    cause = "found: No such file or directory"
    (told,) = objections(info)
    assert told == (f"dane_csr_request: Cannot use '{REQUEST}': expected a certificate signing request in PEM form; {cause}")
    (told,) = objections(request(), info)
    assert told == (f"dane_csr_privatekey: Cannot use '{KEY_FILE}': expected a private key in PEM form, not encrypted; {cause}")
    assert [one.partition(":")[0] for one in objections(info, info)] == ["dane_csr_privatekey", "dane_csr_request"]
