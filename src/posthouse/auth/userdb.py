"""Where an account's mail is: the userdb answer for the accounts of the directory."""

from posthouse.auth.directory import Account, Directory
from posthouse.core.variables import Template, user_values
from posthouse.runtime.schema import UserEntry


class UserDb:
    """`delimiters` are recipient_delimiter's characters: mail for bob+work is bob's (a login name is taken as it
    is)."""

    def __init__(
        self, directory: Directory, *, home: Template, mail: Template, uid: int, gid: int, delimiters: str
    ) -> None:
        self._directory = directory
        self._home = home
        self._mail = mail
        self._uid = uid
        self._gid = gid
        self._delimiters = delimiters

    def find(self, user: str, service: str) -> UserEntry | None:
        """Raises DirectoryError."""
        account = self._directory.account(user)
        if account is None and self._delimiters:
            local_part, _, domain = user.rpartition("@")
            base = without_extension(local_part, self._delimiters)
            if base:
                account = self._directory.account(f"{base}@{domain}")
        return self.entry(account, service) if account is not None else None

    def entry(self, account: Account, service: str) -> UserEntry:
        values = user_values(account.address, service)
        home = account.home or self._home.fill(values)
        values["home"] = home
        mail = account.mail or self._mail.fill(values)
        return UserEntry(account.address, self._uid, self._gid, home, _with_home(mail, home), account.quota_octets)


def without_extension(local_part: str, delimiters: str) -> str:
    """The part before the first delimiter; "" if there is none (or nothing is before it)."""
    found = [at for character in delimiters if (at := local_part.find(character, 1)) > 0]
    return local_part[: min(found)] if found else ""


def _with_home(mail: str, home: str) -> str:
    """ "maildir:~/Maildir:INDEX=~/x": a ~ that begins a path is the home."""
    if "~" not in mail:
        return mail
    for before in (":", "="):
        mail = mail.replace(f"{before}~/", f"{before}{home}/")
        if mail.endswith(f"{before}~"):
            mail = mail[:-1] + home
    return mail
