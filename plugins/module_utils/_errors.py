# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one exception tree of the collection. Private: no interface for other collections.

Every error says ``Cannot <verb> <object!r>[ on <server>]: <cause>`` and then the next step, and carries as fields
what a caller may want to act on, so that modules hand them to the user without reading the text again.
"""

from __future__ import annotations


class DaneError(Exception):
    """Something a user can understand and act on.

    :param message: the whole sentence, with the next step (str).
    :param fields: structured data that goes into the module's failure result (JSON types).
    """

    def __init__(self, message, **fields):
        super().__init__(message)
        self.message = message
        self.fields = fields


class RecordError(DaneError):
    """A TLSA record, parameter combination or owner name is malformed or unusable."""


class ChainError(DaneError):
    """A key, certificate or chain of certificates cannot be used."""


class DnsError(DaneError):
    """The DNS could not be observed: no zone, no answer, not validated."""


class UpdateError(DaneError):
    """A publisher refused or failed to change the DNS. Field ``rcode`` names the answer where there was one."""


class ProbeError(DaneError):
    """A handshake could not even be attempted (no openssl, bad address): not an outcome of the endpoint."""


class LedgerError(DaneError):
    """The ledger cannot be read or written."""


class PlanError(DaneError):
    """The run cannot begin as it was asked for."""


class WaiverError(DaneError):
    """A waiver lacks something, or its day is none."""


class RefusedError(DaneError):
    """One of the two questions was answered no. Field ``answer`` holds it (see ``_rollover.Answer.to_dict``)."""


class DeployError(DaneError):
    """The daemon did not accept the chain, or does not present it. Field ``restored`` says whether the old is back."""
