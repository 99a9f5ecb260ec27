"""What happens to every message on its way in, whoever brings it: Received:, missing fields, limits of the header.

For a receiver (smtpd, pickup):

    rules = Rules.of(settings)                       # once
    content = check_octets(rules, content)           # every piece of the content; raises PermFail
    received = received_from_client(rules, …)        # or received_from_user(rules, uid=…, queue_id=…, at_s=…)
    prepared = prepare(rules, content, received=received, queue_id=…, at_s=…, sender=…, add_missing=True)
    prepared.content                                 # what goes into Submit.content
    prepared.message_id                              # for Arrival.message_id and the log

`prepare` takes the whole message or its first piece (`is_whole=False`, at least header_section_size_limit octets); the
pieces behind it go on unchanged. Lines end with CRLF, and no CR or LF stands alone: `crlf` makes it so for text from
files. What a message says about itself is its sender's business: fields are added and removed, never rewritten.
"""

from posthouse.intake.header import Prepared, check_octets, prepare
from posthouse.intake.received import received_from_client, received_from_user
from posthouse.intake.rules import Rules
from posthouse.protocol.smtp.line_ends import crlf

__all__ = ["Prepared", "Rules", "check_octets", "crlf", "prepare", "received_from_client", "received_from_user"]
