"""The two ways a command can end badly; the CLI turns each into one message and an exit code."""

from opencharacter.redaction import redact


class OpenCharacterError(Exception):
    """A failure that is not the user's mistake (a server went away, a disk is full). Its message holds no API key.

    `hint` says what to do next. The CLI prints it under the message, and so does a traceback. A notebook shows message
    and hint alone; `%debug` still reaches the frames.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(redact(message))
        self.hint = hint
        if hint:
            self.add_note(f"hint: {hint}")

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback."""
        return [f"{type(self).__name__}: {self}", *getattr(self, "__notes__", [])]


class UserError(OpenCharacterError):
    """Bad input: the message names the file, line or key and what was expected."""

    exit_code = 2
