"""Why a reply cannot become a row."""


class Unusable(Exception):
    """A reply that cannot become a row. `reason` is one of a few short stable words, for counting."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.reason = reason
