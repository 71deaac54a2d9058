"""The acceptance suite of any cluster: see README.md. One promise a test; what it makes, it takes away again."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

import pytest
from support.acceptance import plugin, store
from support.acceptance.capabilities import has_trainer
from support.acceptance.evidence import gather
from support.acceptance.kube import ACCOUNTS, SECRETS, SERVICES_OF_MODELS, Kube
from support.acceptance.ledger import Ledger
from support.acceptance.programs import port_forward
from support.acceptance.progress import say
from support.acceptance.queues import Queue, make_queue
from support.acceptance.recipe import cluster_file, run_settings
from support.acceptance.releases import (
    MLFLOW,
    Release,
    chart_values,
    forget_model,
    install,
    is_installed,
    s3_secret,
    serving_account,
)
from support.acceptance.serving import CHARACTER, Service
from support.acceptance.settings import Settings, named_settings
from support.acceptance.suite import Run, Suite, new_id
from support.acceptance.training import STEPS, Training, start
from support.acceptance.waiting import Deadline

_SETTINGS = pytest.StashKey[Settings]()
_REPORTER = pytest.StashKey[plugin.Reporter]()
_TEST_S = 1500


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--keep", action="store_true", help="leave what the suite has made, to look at it")


@pytest.hookimpl(trylast=True)  # after the conftest above, whose unconfigure counts on its own configure
def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "needs(*what): cluster, images, store, pipelines: settings without which to skip"
    )
    if not named_settings(os.environ):
        return
    config.stash[_SETTINGS] = plugin.settings_or_exit()
    config.stash[_REPORTER] = plugin.Reporter()
    config.pluginmanager.register(config.stash[_REPORTER], "acceptance")
    plugin.speak_past_capture(config)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    plugin.order(items)
    if _SETTINGS not in config.stash:
        plugin.skip_all_in_one_line(config, items)
        return
    plugin.skip_what_cannot_run(items, config.stash[_SETTINGS])
    for item in items:
        item.add_marker(pytest.mark.timeout(_TEST_S))


@pytest.fixture(scope="session")
def suite(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    """The session. At its end, also after Ctrl-C or SIGTERM, what it has made is taken away, unless --keep is given."""
    from opencharacter.kube import cluster_client

    settings = request.config.stash[_SETTINGS]
    reporter = request.config.stash[_REPORTER]

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    with ExitStack() as open_things:
        kube = Kube(open_things.enter_context(cluster_client("acceptance")))
        name = new_id()
        ledger = Ledger(kube, name)
        made = Suite(settings, kube, ledger, Deadline(settings.minutes), tmp_path_factory.mktemp("suite"), name)
        say(f"session {name} on {kube.address}, namespace {settings.namespace}")
        try:
            _connect(made, open_things)
            reporter.evidence = lambda: gather(
                kube, [made.namespace, *made.namespaces], name, [run.id for run in made.runs]
            )
            yield made
        finally:
            reporter.evidence = None
            _end(made, keep=request.config.getoption("--keep"))
            signal.signal(signal.SIGTERM, before)


def _connect(suite: Suite, open_things: ExitStack) -> None:
    settings = suite.settings
    suite.local_s3 = os.environ.get("AWS_ENDPOINT_URL")
    if settings.s3_service:
        suite.local_s3 = "http://" + open_things.enter_context(port_forward(suite.namespace, settings.s3_service))
    suite.kfp_host = settings.kfp_host
    if settings.kfp_host and settings.kfp_host.startswith("svc/"):
        suite.kfp_host = "http://" + open_things.enter_context(port_forward(suite.namespace, settings.kfp_host))
    os.environ |= suite.environment  # for the library in this process: boto3, the workspace


def _end(suite: Suite, *, keep: bool) -> None:
    if keep:
        say(f"kept, since --keep was given: {', '.join(suite.ledger.kept()) or 'nothing'}")
        return
    say(f"taking away what session {suite.id} has made")
    problems = suite.ledger.clean()
    for problem in problems:
        say(f"could not be taken away: {problem}")
    assert not problems, f"could not be taken away: {'; '.join(problems)}"


@pytest.fixture(scope="session")
def release(suite: Suite, request: pytest.FixtureRequest) -> Iterator[Release]:
    """The chart in the namespace of the runs: the one that is there, or else one of this session."""
    secret = f"{suite.id}-s3"
    suite.ledger.create(SECRETS.format(suite.namespace), s3_secret(suite, secret))
    if suite.settings.workspace:
        suite.ledger.will_undo(suite.prefix, lambda: store.delete_below(suite.prefix, suite.local_s3))
    account, ours = "opencharacter-serving", not is_installed(suite, suite.namespace)
    if ours:
        install(suite, suite.id, suite.namespace, chart_values(suite, secret=secret)).expect()
    else:
        say(f"the release that is in {suite.namespace} already is used, and left")
        account = f"{suite.id}-serving"
        suite.ledger.create(ACCOUNTS.format(suite.namespace), serving_account(account, secret))
    suite.until_available(suite.namespace, "opencharacter-mlflow")
    with port_forward(suite.namespace, "svc/opencharacter-mlflow:5000") as address:
        os.environ["MLFLOW_TRACKING_URI"] = f"http://{address}"  # for the library in this process
        made = Release(suite.id, suite.namespace, f"http://{address}", secret, account, ours)
        yield made
        if not ours and not request.config.getoption("--keep"):
            forget_model(suite.id)


@pytest.fixture(scope="session")
def model(suite: Suite, release: Release) -> str:
    """The address of a small chat model in the bucket."""
    say("the demo's model goes into the bucket")
    return store.upload_model(suite.prefix, suite.local_s3)


@pytest.fixture(scope="session")
def cluster(suite: Suite, release: Release) -> Path:
    """The cluster file of the long run."""
    return cluster_file(suite, "cluster", mlflow=MLFLOW, secret=release.secret, endpoint=suite.pod_s3)


@pytest.fixture(scope="session")
def settings(suite: Suite, release: Release, model: str) -> list[str]:
    """The run's configuration, over the preset `demo`."""
    named = run_settings(model, name=suite.id, service=suite.id)
    return [*named, f"deploy.service_account={release.account}"]


@pytest.fixture(scope="session")
def workspace(suite: Suite) -> str:
    """Where the long run's data are."""
    return f"{suite.prefix}/runs"


@pytest.fixture(scope="session")
def first_run(suite: Suite, cluster: Path, settings: list[str], workspace: str) -> Run:
    """The long run, from personas to a deployed champion. It is only started here."""
    suite.ledger.expect(f"{SERVICES_OF_MODELS.format(suite.namespace)}/{suite.id}")
    return suite.submit(cluster, *settings, workspace=workspace)


@pytest.fixture(scope="session")
def queue(suite: Suite) -> Queue | None:
    """A queue of the session that holds; none without Kueue."""
    return make_queue(suite)


@pytest.fixture(scope="session")
def service(suite: Suite, release: Release, settings: list[str], first_run: Run) -> Service:
    """What the long run has deployed, once that is over."""
    first_run.until_over(seconds=1200)
    made = Service(suite, release, settings)
    if made.read() is None:
        say("the run has deployed nothing, which its own tests say: its model is promoted and deployed from here")
        made.promote("1")
        made.deploy(f"models:/{suite.id}@champion").expect()
    return made


@pytest.fixture(scope="session")
def character(suite: Suite) -> Path:
    """A character that no training has seen."""
    path = suite.folder / "character.json"
    path.write_text(CHARACTER.read_text(encoding="utf-8"), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def models_before(first_run: Run, workspace: str) -> set[str]:
    """Keys of the models in the workspace, once the long run is over."""
    from opencharacter.storage import Workspace

    first_run.until_over(seconds=1200)
    return {ref.key for ref in Workspace(workspace).list("model")}


@pytest.fixture(scope="session")
def second_run(suite: Suite, cluster: Path, settings: list[str], workspace: str, first_run: Run) -> Run:
    """The long run, submitted again once it is over. It does not deploy: the tests of serving do that meanwhile."""
    first_run.until_over(seconds=1200)
    return suite.submit(cluster, *settings, "deploy.apply=false", workspace=workspace)


@pytest.fixture(scope="session")
def queued_training(
    suite: Suite,
    release: Release,
    queue: Queue | None,
    settings: list[str],
    workspace: str,
    models_before: set[str],
) -> Training | None:
    """A training that waits in the queue; none without Kueue or Trainer, where it could only start at once."""
    if queue is None or not has_trainer(suite.kube) or not models_before:
        return None
    queue.hold()
    return start(suite, release, queue, settings, workspace, f"sft.max_steps={STEPS}")


@pytest.fixture(scope="session")
def queued_doomed(
    suite: Suite,
    release: Release,
    queue: Queue | None,
    settings: list[str],
    workspace: str,
    queued_training: Training | None,
) -> Training | None:
    """A longer one, behind it in the queue."""
    if queued_training is None:
        return None
    try:
        queued_training.until_job()
    except AssertionError as error:  # its own test says so; the tests that run meanwhile have nothing to do with it
        say(f"no second training is queued: {error}")
        return None
    return start(suite, release, queue, settings, workspace, "sft.max_steps=500")
