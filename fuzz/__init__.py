"""Fuzzing with coverage of everything that reads what strangers, users, other programs or a torn disk have written.

    make fuzz MINUTES=60           all targets, two at a time, the minutes shared among them
    .venv/bin/python -m fuzz --target smtp_server --minutes 5
    .venv/bin/python -m fuzz replay smtp_server fuzz/found/smtp_server/crash-…

A target (`fuzz/targets/`, one module each) takes octets and raises if the product does not hold what it promises; what
it promises is in the target's assertions. `worker` runs one target under atheris (libFuzzer with coverage of Python
code), `campaign` all of them; `limits` makes a finding of an input that takes too long or too much memory; `smoke`
needs no atheris and is what the tests use. Found inputs stay in `fuzz/found/` and are tests from then on.
"""
