"""Messages that the conformance tests share."""


def message(subject: str = "hello", body: str = "A line.\r\n") -> bytes:
    return (
        f"From: Ann <ann@example.com>\r\nTo: bob@example.net\r\nSubject: {subject}\r\n"
        f"Date: Mon, 23 Nov 2026 12:00:00 +0000\r\nMessage-ID: <{subject}@example.com>\r\n\r\n{body}"
    ).encode()
