"""Messages on the octet level: where header, parts and fields lie, and the wire texts IMAP wants of them.

Everything here takes content with CRLF line ends and answers offsets or ready-made octets; nothing decodes, nothing
changes the message, and no input is refused: every octet string is a message of some kind. No stdlib `email` here, it
neither keeps offsets nor octets. The store fills its cache with

    from posthouse.protocol.message.envelope import envelope  # header octets -> ENVELOPE text
    from posthouse.protocol.message.structure import structures  # content -> (BODY text, BODYSTRUCTURE text)
    from posthouse.protocol.message.header import header_end  # content -> length of the header, empty line included

Limits (nesting, number of parts, addresses, parameters) are named in the modules that apply them; what lies beyond
stays in the message and is only not described.
"""
