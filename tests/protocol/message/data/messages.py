"""Tricky messages, each for one question. Line ends are LF here; they become CRLF above the store."""

MESSAGES: dict[str, bytes] = {
    # ENVELOPE
    "quoted names, encoded words, groups": (
        b'From: "A \\"B\\" C" <a@b.c>, =?utf-8?q?x?= <foo@bar>, Group: x@y, z@w;\n'
        b'To: undisclosed-recipients:;\nSubject: hello\n\tworld\n  again "quoted"\n'
        b"Date: Mon, 23 Nov 2026 12:58:41 +0000\nMessage-ID: <1@x>\n\nx"
    ),
    "repeated fields": (b"Subject: a\nSubject: b\nFrom: a@b\nFrom: c@d\nDate: x\nDate: y\nSubject:\n\nx"),
    "empty fields": b"Subject:\nDate:\nFrom:\nMessage-ID:\n\nx",
    "phrases, comments, routes": (
        b'From: Foo  Bar <a@b>\nTo: "q" r <a@b.c>\nCc: a@b (Comment here), (c) x@y\nBcc: <>\n'
        b"Reply-To: <@r1,@r2:u@d>\nSender: foo bar\nSubject:  x \n y\t\n z  \n\nx"
    ),
    "dots in a phrase": b"From: J. Smith <a@b>\nTo: J.R.R. Tolkien <jrr@x.y>\nSubject: =?gb2312?B?xOO6ww==?=\n\nx",
    "quoted local parts and literals": (
        b'Cc: "a b"@c, <"a\\"b"@c>\nBcc: x@[1.2.3.4]\nReply-To: foo <bar\nSender: <a@b>, c\n\nx'
    ),
    "raw 8-bit names": b"From: \xe4\xbd\xa0\xe5\xa5\xbd <a@b>\nSubject: \xc4\xe3\xba\xc3 gbk\n\nx",
    "groups among addresses": b"Bcc: g: a@b, c@d; , e@f\nReply-To: g2:;\nSubject: tab\tin\n\nx",
    "lines that are no fields": b"no colon\nSubject: ok\n: empty\nFrom : sp@ace\nDate: Mon\\x\n\nx",
    "what follows an address": b"Cc: a@b c@d\nSubject: x\n\nx",
    "bare words": b"From: mailer daemon\nTo: a@\nCc: @b\nBcc: a@b@c\nReply-To: <a>\nSender: (only)\n\nx",
    "in-reply-to folded": b"In-Reply-To: <a>\n <b>\nReferences: <c>\nFrom: a@b\n\nx",
    "no sender at all": b"To: a@b\nSubject: x\n\nx",
    "comment with parentheses": b"From: a@b (A (nested) \\) name)\n\nx",
    "many recipients": b"To: " + b",\n ".join(b"User %d <u%d@example.com>" % (n, n) for n in range(30)) + b"\n\nx",
    "address without space": b"From:Alice<alice@example.com>\nTo: bob@example.com,carol@example.com\n\nx",
    "null sender": b"From: <>\nReturn-Path: <>\n\nx",
    # BODY and BODYSTRUCTURE
    "type in capitals": (
        b"Content-Type: TEXT/Html; CharSet=UTF-8; format=flowed\nContent-Transfer-Encoding: BASE64\n"
        b"Content-ID: <x>\nContent-Description: foo bar\n\nx\ny"
    ),
    "all extension data": (
        b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b\n"
        b'Content-Type: image/png; name="a b.png"\n'
        b"Content-Disposition: attachment; filename*0=foo; filename*1=bar; size=3\nContent-MD5: abc\n"
        b"Content-Language: en, de\nContent-Location: http://x\n\nx\n--b--\n"
    ),
    "multipart without a boundary parameter": b"Content-Type: multipart/mixed\nMIME-Version: 1.0\n\n--b\n\nx\n",
    "multipart whose boundary is missing": b"Content-Type: multipart/mixed; boundary=zzz\n\n--b\n\nx\n",
    "application": b"Content-Type: application/x\nMIME-Version: 1.0\n\n--b\n\nx\n",
    "message/rfc822 at the top": b"Content-Type: message/rfc822\n\nSubject: x\n\nbody\n",
    "digest": (
        b"Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: d1\n\nbody\n--b\n"
        b"Content-Type: text/plain\n\nSubject: d2\n\nbody\n--b--\n"
    ),
    "inner multipart not closed, boundaries with a common beginning, epilogue": (
        b"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/alternative; boundary=bc\n\n"
        b"--bc\n\n1\n--bc\nContent-Type: text/html\n\n2\n--b\n\nlast\n--bxx\n\nprefix\n--b--\nepi\n--b\n\nafter\n"
    ),
    "empty parts": (
        b"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Transfer-Encoding: 8bit (c)\n\n--b\n--b--"
    ),
    "nothing": b"",
    "only an empty line": b"\n",
    "only a body": b"\nbody",
    "only a header": b"Subject: only header\n",
    "half a header": b"Subject: only header",
    "charset without a value": b"Content-Type: text/plain; charset\n\nx",
    "quoted parameters": b'Content-Type: text/plain; charset="a;b\\"c"; x=\xe4\n\nx',
    "empty boundary": b'Content-Type: multipart/mixed; boundary=""\n\n--\n\nx\n----\n',
    "a header without an end": b"Content-Type: multipart/mixed; boundary=b\n\n--b\nSubject: no\n--b\n\n\n--b--\n",
    "message/partial": b"Content-Type: message/partial; id=x\n\nSubject: a\n\nb",
    "parameter list ends with a semicolon": b"Content-Type: text/plain; charset=us-ascii; \n\nb",
    "repeated content type": b"Content-Type: text/plain\nContent-Type: text/html\nContent-Language: \n\nb",
    "preamble and dashes in text": (
        b"Content-Type: multipart/mixed; boundary=outer\n\npreamble\n--\n--out\n--outer\n\n-- \nsignature\n"
        b"--outer--not really\n--outer--\n"
    ),
    "boundary used twice": (
        b"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\n1\n--b"
        b"\n\n2\n--b--\n--b\n\n3\n--b--\n"
    ),
    "alternative with related and attachment": (
        b'MIME-Version: 1.0\nContent-Type: multipart/mixed;\n boundary="m1"\n\n--m1\n'
        b'Content-Type: multipart/alternative; boundary="m2"\n\n--m2\nContent-Type: text/plain; charset=gb18030\n'
        b'Content-Transfer-Encoding: base64\n\nxOO6ww==\n\n--m2\nContent-Type: multipart/related; boundary="m3"\n\n'
        b"--m3\nContent-Type: text/html\n\n<p>\n--m3\nContent-Type: image/gif\nContent-ID: <i>\n\nGIF\n--m3--\n\n"
        b"--m2--\n\n--m1\nContent-Type: application/pdf; name=a.pdf\nContent-Disposition: attachment; filename=a.pdf\n"
        b"\nPDF\n--m1--\n"
    ),
    "tabs and folded parameters": (
        b'Content-Type:\ttext/plain;\n\tcharset=utf-8;\n\tformat="flowed"\nContent-Disposition:\n inline\n\nx\n'
    ),
    "trailing space behind a boundary": (b'Content-Type: multipart/mixed; boundary="b b"\n\n--b b  \n\nx\n--b b--  \n'),
}
