"""Restriction lists of smtpd: who may send what to whom. Pure decisions over facts; see `policy.Policy`."""

from posthouse.policy.facts import Facts, Subject, Unanswered
from posthouse.policy.lists import unsupported_restrictions
from posthouse.policy.policy import Policy

__all__ = ["Facts", "Policy", "Subject", "Unanswered", "unsupported_restrictions"]
