# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab's judge: did any DANE-verifying sender see, or could it have seen, a mismatch?

It looks at a rollover from outside and shares no code with the collection it judges, so that a mistake there cannot
hide itself here. Two independent observations go in:

* ``senders``: what real Postfix senders logged, delivery by delivery;
* ``witness``: twice a second, the TLSA RRset of every authoritative server address and the chain every mail host
  presents.

``verdict`` is pure: it computes from these the failures, the *exposure* and whether the evidence suffices.
``timeline`` draws the same observations.
"""
