"""Why a reply cannot become a row."""


class Unusable(Exception):
    """A reply that cannot become a row.

    `reason` is one of a few short stable words, for counting; `detail` says more. `final`: another attempt would end in
    the same way.
    """

    def __init__(self, reason: str, detail: str = "", *, final: bool = False) -> None:
        super().__init__(detail or reason)
        self.reason = reason
        self.detail = detail
        self.final = final
