"""Replies that need no facts, in Postfix's words, because people search the web for them (RFC 5321 s4.2, RFC 3463)."""

from typing import Final

from posthouse.core.reply import Reply

OK: Final = Reply.of(250, "2.0.0", "Ok")
SENDER_OK: Final = Reply.of(250, "2.1.0", "Ok")
RECIPIENT_OK: Final = Reply.of(250, "2.1.5", "Ok")
SEND_CONTENT: Final = Reply.of(354, "", "End data with <CR><LF>.<CR><LF>")
BYE: Final = Reply.of(221, "2.0.0", "Bye")
READY_FOR_TLS: Final = Reply.of(220, "2.0.0", "Ready to start TLS")
AUTHENTICATED: Final = Reply.of(235, "2.7.0", "Authentication successful")
CANNOT_VERIFY: Final = Reply.of(252, "2.0.0", "Cannot VRFY user; try RCPT to attempt delivery")

BAD_SYNTAX: Final = Reply.of(500, "5.5.2", "Error: bad syntax")
BAD_UTF8: Final = Reply.of(500, "5.5.2", "Error: bad UTF-8 syntax")
LINE_TOO_LONG: Final = Reply.of(500, "5.5.2", "Error: line too long")
NOT_RECOGNIZED: Final = Reply.of(500, "5.5.2", "Error: command not recognized")
NOT_IMPLEMENTED: Final = Reply.of(502, "5.5.1", "Error: command not implemented")
RULE_BREAKER: Final = Reply.of(221, "2.7.0", "Error: I can break rules, too. Goodbye.")
UNSYNCHRONIZED: Final = Reply.of(554, "5.5.0", "Error: SMTP protocol synchronization")
NEED_HELLO: Final = Reply.of(503, "5.5.1", "Error: send HELO/EHLO first")

HELLO_SYNTAX: Final = {
    "HELO": Reply.of(501, "5.5.4", "Syntax: HELO hostname"),
    "EHLO": Reply.of(501, "5.5.4", "Syntax: EHLO hostname"),
    "LHLO": Reply.of(501, "5.5.4", "Syntax: LHLO hostname"),
}
MAIL_SYNTAX: Final = Reply.of(501, "5.5.4", "Syntax: MAIL FROM:<address>")
RCPT_SYNTAX: Final = Reply.of(501, "5.5.4", "Syntax: RCPT TO:<address>")
DATA_SYNTAX: Final = Reply.of(501, "5.5.4", "Syntax: DATA")
RSET_SYNTAX: Final = Reply.of(501, "5.5.4", "Syntax: RSET")
STARTTLS_SYNTAX: Final = Reply.of(501, "5.5.4", "Syntax: STARTTLS")
VRFY_SYNTAX: Final = Reply.of(501, "5.5.4", "Syntax: VRFY address")
ETRN_SYNTAX: Final = Reply.of(500, "5.5.4", "Syntax: ETRN domain")
AUTH_SYNTAX: Final = Reply.of(501, "5.5.4", "Syntax: AUTH mechanism")
# RFC 3030 s2: whoever does not understand the count cannot know where the next command begins.
BDAT_SYNTAX: Final = Reply.of(521, "5.5.4", "Syntax: BDAT count [LAST]")

NO_CHUNKING: Final = Reply.of(521, "5.5.1", "Error: command not implemented")

BAD_SENDER: Final = Reply.of(501, "5.1.7", "Bad sender address syntax")
BAD_RECIPIENT: Final = Reply.of(501, "5.1.3", "Bad recipient address syntax")
NEED_SMTPUTF8: Final = Reply.of(553, "5.6.7", "Must declare SMTPUTF8 to send unicode address")
TOO_MANY_RECIPIENTS: Final = Reply.of(452, "4.5.3", "Error: too many recipients")
SIZE_EXCEEDED: Final = Reply.of(552, "5.3.4", "Message size exceeds fixed limit")
CONTENT_TOO_LARGE: Final = Reply.of(552, "5.3.4", "Error: message file too big")
CHUNK_TOO_LARGE: Final = Reply.of(552, "5.3.4", "Chunk exceeds message size limit")

TLS_ACTIVE: Final = Reply.of(554, "5.5.1", "Error: TLS already active")
NO_TLS: Final = Reply.of(454, "4.7.0", "TLS not available due to local problem")
NEED_TLS: Final = Reply.of(530, "5.7.0", "Must issue a STARTTLS command first")
NO_AUTH: Final = Reply.of(503, "5.5.1", "Error: authentication not enabled")
ALREADY_AUTHENTICATED: Final = Reply.of(503, "5.5.1", "Error: already authenticated")
AUTH_ABORTED: Final = Reply.of(501, "5.7.0", "Authentication aborted")
AUTH_RESPONSE_TOO_LONG: Final = Reply.of(500, "5.5.6", "SASL response limit exceeded")
AUTH_BAD_BASE64: Final = Reply.of(501, "5.5.2", "Error: invalid base64 data")
VRFY_DISABLED: Final = Reply.of(502, "5.5.1", "VRFY command is disabled")
