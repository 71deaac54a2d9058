"""The images of a local run in containers, against a stand-in of Docker's engine."""

import pytest
from support import stand_in

from opencharacter.errors import UserError
from opencharacter.library import LIBRARY_LABEL, fingerprint
from opencharacter.pipelines.containers import check_images


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ({LIBRARY_LABEL: fingerprint()}, None),
        ({}, None),
        (None, None),
        ({LIBRARY_LABEL: "0.1.0+00000000"}, "synthesis:0.1.0 holds library 0.1.0[+]00000000, and this is"),
    ],
)
def test_images_of_another_library_are_refused(
    labels: dict[str, str] | None, told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Engine(stand_in.Handler):
        def do_GET(self) -> None:
            if self.path.endswith("/json"):
                self.answer(200, {"Id": "sha256:1", "Config": {"Labels": labels}})
            else:
                self.answer(200, {"ApiVersion": "1.41"})

    with stand_in.serving(Engine) as url:
        monkeypatch.setenv("DOCKER_HOST", url.replace("http", "tcp"))
        if told is None:
            check_images()
        else:
            with pytest.raises(UserError, match=told):
                check_images()
