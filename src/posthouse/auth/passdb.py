"""Is the password right? One path for every answer.

An unknown name, a name nobody can have and a disabled account go through the same hash as a wrong password does, so
that the time an answer takes does not tell which names exist.
"""

from collections.abc import Callable

import msgspec

from posthouse.auth.directory import Directory, DirectoryError
from posthouse.auth.hashing import Busy, HashPool
from posthouse.auth.loginname import BadLoginName, LoginNames
from posthouse.auth.schemes import UnknownScheme
from posthouse.auth.verified import VerifiedCache
from posthouse.protocol.sasl_mechanisms import Credentials


class Verdict(msgspec.Struct, frozen=True):
    """`user` is the name as looked up, set whenever there was one to look up. With `is_temporary` nothing is known
    about the password. `error` is for an administrator: something here is broken."""

    user: str
    is_right: bool = False
    reason: str = ""
    is_temporary: bool = False
    is_disabled: bool = False
    error: str = ""


Answer = Callable[[Verdict], None]


class PassDb:
    def __init__(
        self,
        *,
        directory: Directory,
        names: LoginNames,
        pool: HashPool,
        verified: VerifiedCache,
        decoy: str,
        default_scheme: str,
        monotonic: Callable[[], float],
    ) -> None:
        self.directory = directory
        self.names = names
        self.pool = pool
        self.verified = verified
        self.default_scheme = default_scheme
        self._decoy = decoy
        self._monotonic = monotonic

    def check(self, credentials: Credentials, client: str, answer: Answer) -> None:
        """Answers now (remembered password, broken database) or from the event loop later."""
        try:
            user = self.names.parse(credentials.authcid)
            wrong = "Password mismatch"
        except BadLoginName as error:
            user, wrong = credentials.authcid, str(error)
        if wrong == "Password mismatch" and credentials.authzid:
            wrong = self._check_authzid(credentials.authzid, user) or wrong
        try:
            account = self.directory.account(user) if wrong == "Password mismatch" else None
        except DirectoryError as error:
            answer(Verdict(user, is_temporary=True, reason="directory lookup failed", error=str(error)))
            return
        if account is None and wrong == "Password mismatch":
            wrong = "unknown user"
        stored = account.password if account is not None else self._decoy
        password = credentials.password
        if account is not None and self.verified.has(user, stored, password, self._monotonic()):
            answer(_right(user, account.is_disabled))
            return

        def hashed(result: bool | Exception) -> None:
            if isinstance(result, Busy):
                answer(Verdict(user, is_temporary=True, reason="too many logins at the moment"))
            elif isinstance(result, UnknownScheme):
                answer(Verdict(user, is_temporary=True, reason="password scheme", error=str(result)))
            elif isinstance(result, Exception):
                answer(Verdict(user, is_temporary=True, reason="internal error", error=repr(result)))
            elif result and account is not None:
                self.verified.add(user, stored, password, self._monotonic())
                answer(_right(user, account.is_disabled))
            else:
                answer(Verdict(user, reason=wrong))

        try:
            self.pool.verify(client, stored, password, self.default_scheme, hashed, user=user)
        except Busy as error:
            hashed(error)

    def _check_authzid(self, authzid: str, user: str) -> str:
        """To act as somebody else takes a master user, which there is none; as oneself is fine (RFC 4616 s2)."""
        try:
            same = self.names.parse(authzid) == user
        except BadLoginName:
            same = False
        return "" if same else f"requested login as {authzid}, but there are no master users"


def _right(user: str, is_disabled: bool) -> Verdict:
    if is_disabled:
        return Verdict(user, reason="user is disabled", is_disabled=True)
    return Verdict(user, is_right=True)
