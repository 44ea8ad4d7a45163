"""PLAIN on the server's side (RFC 4616): one token with name and password, told to whoever listens. Pure.

The password is compared with what is stored for SCRAM, so one user logs in with every mechanism. That takes thousands of
hashes, so it is a check that the shell does elsewhere than on the loop.
"""

from headrace.broker.security.exchange import PasswordCheck, Reason, Rejected, Step, Verdict


class PlainExchange:
    """One login; see `Exchange`."""

    def step(self, token: bytes) -> Step:
        """`[authorization id] NUL name NUL password`."""
        words = token.split(b"\0")
        if len(words) != 3:
            return Rejected(Reason.MALFORMED, detail=f"{len(words)} words instead of three")
        authorization_id, name, password = words
        try:
            text = name.decode()
        except UnicodeDecodeError:
            return Rejected(Reason.MALFORMED, detail="a user name that is not UTF-8")
        if not name or not password:
            return Rejected(Reason.MALFORMED, text, "no user name" if not name else "no password")
        if authorization_id and authorization_id != name:
            return Rejected(Reason.MALFORMED, text, "an authorization id that is not the user name")
        return PasswordCheck(text, password)

    def checked(self, verdict: Verdict) -> Step:
        return verdict
