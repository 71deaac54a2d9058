"""Making a plan out of its parts."""

from collections.abc import Iterator

from opencharacter.cluster.checks import Lack, find_lacks, serves_itself, steps_of
from opencharacter.cluster.spec import Cluster, StepName
from opencharacter.config.run import RunConfig
from opencharacter.planning.capacity import capacity_lacks
from opencharacter.planning.figures import Figures, Ledger
from opencharacter.planning.hours import Clock, gpu_named
from opencharacter.planning.inputs import InputCount, count_inputs
from opencharacter.planning.learning import MODELS_MEASURED, evaluation, mixture, training
from opencharacter.planning.result import Assumption, Plan, Stage, Totals, Where
from opencharacter.planning.storage import storage
from opencharacter.planning.synthesis import synthesis
from opencharacter.planning.tokens import TextLengths, text_lengths
from opencharacter.planning.work import Texts, Work


def make_plan(config: RunConfig, cluster: Cluster | None, figures: Figures) -> Plan:
    """What the run will do: local inputs are read, nothing is asked, fetched or started.

    Raises `UserError` if an input cannot be read or the size of an input or model is not known.
    """
    ledger = Ledger(figures)
    lengths = text_lengths(config.sft.base_model, ledger)
    inputs = count_inputs(config, ledger, lengths)
    return plan_of(config, cluster, ledger, inputs, lengths)


def plan_of(
    config: RunConfig, cluster: Cluster | None, ledger: Ledger, inputs: list[InputCount], lengths: TextLengths
) -> Plan:
    """The plan of a run whose inputs have been counted."""
    figures = ledger.figures
    texts = Texts(config, inputs, ledger, lengths)
    works, dialogues = synthesis(config, inputs, texts)
    mix, mixed = mixture(config, inputs, dialogues, texts)
    works += [mix, training(config, mixed), evaluation(config, mixed, texts)]
    clock, bill = Clock(config, cluster, ledger), _Bill(config, figures)
    by_step = {work.step: work for work in works}
    stages = [_stage(step, by_step.get(step), config, clock, bill) for step in steps_of(config)]
    nodes = next(stage.where.pods for stage in stages if stage.step == "sft")
    kept = storage(config, works, ledger, nodes=nodes)
    lacks = [*_data_lacks(config, inputs, works), *(find_lacks(config, cluster) if cluster else [])]
    if cluster:
        lacks += capacity_lacks(config, cluster, stages, kept, ledger)
    return Plan(
        name=config.name,
        cluster=cluster.name if cluster else None,
        currency=figures.currency,
        as_of=figures.as_of.isoformat(),
        inputs=inputs,
        stages=stages,
        totals=Totals(
            calls=sum(stage.calls for stage in stages),
            calls_at_most=sum(stage.calls_at_most for stage in stages),
            tokens_in=sum(stage.tokens_in for stage in stages),
            tokens_out=sum(stage.tokens_out for stage in stages),
            hours=sum(stage.hours for stage in stages),
            gpu_hours=sum(stage.gpu_hours for stage in stages),
            cost=sum(stage.cost or 0 for stage in stages),
        ),
        unpriced=bill.unpriced,
        storage=kept,
        assumptions=_assumptions(cluster, ledger, stages),
        lacks=sorted(lacks, key=lambda lack: not lack.impossible),
    )


def _stage(step: StepName, work: Work | None, config: RunConfig, clock: Clock, bill: "_Bill") -> Stage:
    where = clock.where(step)
    if work is None:
        work = Work(step, 0, "")
    hours = clock.hours(work, where)
    gpu_hours = hours * where.gpus * where.pods
    total = work.total
    models = [config.engines[name].model for name in work.loads]
    return Stage(
        step=step,
        rows=work.rows if work.what else None,
        what=work.what,
        calls=total.calls,
        calls_at_most=total.calls_at_most,
        tokens_in=round(total.tokens_in),
        tokens_out=round(total.tokens_out),
        trained_tokens=round(work.trained_tokens),
        optimiser_steps=work.optimiser_steps,
        models=[config.sft.base_model] if step == "sft" else models,
        where=where,
        hours=hours,
        gpu_hours=gpu_hours,
        cost=bill.cost(work, where, gpu_hours),
    )


def _data_lacks(config: RunConfig, inputs: list[InputCount], works: list[Work]) -> Iterator[Lack]:
    for count in inputs:
        section = "mix" if count.what == "general" else "inputs"
        most = config.mix.max_bad_share if section == "mix" else config.inputs.max_bad_share
        read = count.rows + count.bad + count.duplicates
        if count.bad > most * read:
            yield Lack(
                step="mix" if section == "mix" else steps_of(config)[0],
                key=f"run: {section}.max_bad_share",
                message=f"{count.bad} of {read} rows of {count.uri} are bad; the step stops above a share of {most:g}",
                impossible=True,
            )
    if not next(work.rows for work in works if work.step == "sft"):
        message = "no row to train on; R makes rows of sessions with answers only"
        yield Lack(step="sft", key="run: inputs", message=message, impossible=True)


class _Bill:
    """Prices the stages, and notes the prices that are missing."""

    def __init__(self, config: RunConfig, figures: Figures) -> None:
        self._config = config
        self._figures = figures
        self.unpriced: list[str] = []

    def cost(self, work: Work, where: Where, gpu_hours: float) -> float | None:
        """What GPUs and APIs of a stage cost; none if a price is missing. CPUs are not priced."""
        parts = [self._gpus(where, gpu_hours)] if where.gpu and gpu_hours else []
        for name, load in work.loads.items():
            engine = self._config.engines[name]
            if not serves_itself(engine) and load.calls:
                known = self._figures.model(engine.model)
                key = f"models.{engine.model}"
                parts.append(self._priced(load.tokens_in / 1e6, known.input_per_million, f"{key}.input_per_million"))
                parts.append(self._priced(load.tokens_out / 1e6, known.output_per_million, f"{key}.output_per_million"))
        known_parts = [part for part in parts if part is not None]
        return sum(known_parts) if len(known_parts) == len(parts) else None

    def _gpus(self, where: Where, gpu_hours: float) -> float | None:
        price = self._figures.gpus[where.gpu or ""].price_per_hour
        cost = self._priced(gpu_hours, price, f"gpus.{where.gpu}.price_per_hour")
        factor = self._priced(1, self._figures.spot_factor, "spot_factor") if where.spot else 1
        return None if cost is None or factor is None else cost * factor

    def _priced(self, amount: float, price: float | None, key: str) -> float | None:
        if price is None and key not in self.unpriced:
            self.unpriced.append(key)
        return None if price is None else amount * price


def _assumptions(cluster: Cluster | None, ledger: Ledger, stages: list[Stage]) -> list[Assumption]:
    default = ledger.figures.default_gpu
    told = [
        Assumption(name=name, value=f"{figure.value:g}", source=figure.source) for name, figure in ledger.used.items()
    ]
    source = "base and challenger; a champion in the registry makes one more"
    told.append(Assumption(name="models measured", value=str(MODELS_MEASURED), source=source))
    on_gpus = [stage for stage in stages if stage.where.gpu]
    if cluster is None:
        source = "without a cluster: GPUs as the run configuration asks for, models below 1B on this machine"
        told.append(Assumption(name="where", value="as configured", source=source))
    unnamed = [
        stage.step for stage in on_gpus if not (cluster and gpu_named(cluster.placement(stage.step), ledger.figures))
    ]
    if unnamed:
        source = f"nothing names the GPU of {', '.join(unnamed)}; a node selector of the cluster file could"
        told.append(Assumption(name="default_gpu", value=default, source=source))
    if most := max((stage.where.gpus * stage.where.pods for stage in on_gpus), default=0):
        source = "where fewer are free, pods wait: the GPU-hours stay, the time grows"
        told.append(Assumption(name="GPUs at once", value=str(most), source=source))
    return told
