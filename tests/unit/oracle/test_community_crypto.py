# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Our digests are those that the modules of community.crypto call fingerprints: our roles compare the two."""

from __future__ import annotations

import json
from unittest import mock

import pki
import pytest
from ansible.module_utils import basic
from ansible_collections.community.crypto.plugins.modules import (
    openssl_privatekey_info,
    openssl_publickey_info,
    x509_certificate_info,
)
from ansible_collections.mailops.dane.plugins.module_utils import _chain
from ansible_collections.mailops.dane.plugins.module_utils._tlsa import Combination

try:
    from ansible.module_utils.testing import patch_module_args as module_arguments
except ImportError:
    # ansible-core 2.18
    def module_arguments(arguments):
        return mock.patch.object(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode())

DIGESTS = {"sha256": 1, "sha512": 2}


def result_of(module, capsys, **arguments):
    with module_arguments(arguments), pytest.raises(SystemExit):
        module.main()
    result = json.loads(capsys.readouterr().out)
    assert not result.get("failed"), result
    return result


def data_of(certificate, selector, mtype):
    """The data of our record."""
    wanted = Combination(3, selector, mtype)
    return _chain.records_of(certificate, 0, [wanted])[str(wanted)].split()[3]


@pytest.mark.parametrize("kind", ["rsa", "ecdsa", "p384", "ed25519"])
def test_fingerprints(kind, capsys):
    made = pki.leaf(kind=kind, private=pki.key(f"fingerprints {kind}", kind))
    (certificate,) = _chain.load_certificates(made.pem, "x.pem")
    of_certificate = result_of(x509_certificate_info, capsys, content=made.pem)
    of_key = result_of(openssl_privatekey_info, capsys, content=made.key_pem)
    of_public = result_of(openssl_publickey_info, capsys, content=of_certificate["public_key"])
    for digest, mtype in DIGESTS.items():
        assert of_certificate["fingerprints"][digest].replace(":", "") == data_of(certificate, 0, mtype)
        for fingerprints in (of_certificate["public_key_fingerprints"], of_key["public_key_fingerprints"],
                             of_public["fingerprints"]):
            assert fingerprints[digest].replace(":", "") == data_of(certificate, 1, mtype)
