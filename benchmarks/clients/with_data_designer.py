"""NVIDIA's DataDesigner: one text column over a seed data set, on a provider of one's own."""

import data_designer.config as dd  # pyright: ignore[reportMissingImports]
from data_designer.interface import DataDesigner  # pyright: ignore[reportMissingImports]
from measured import SAMPLING, Job, run


def _make(job: Job) -> None:
    import pandas

    seed = pandas.DataFrame(list(job.read()))
    provider = dd.ModelProvider(name="teacher", endpoint=job.url, provider_type="openai", api_key="none")
    designer = DataDesigner(artifact_path=job.work, model_providers=[provider])
    # Its scheduler holds 1,024 tasks by default. With 2,048 it sent no request in 100 s, so the default stays.
    designer.set_run_config(dd.RunConfig(otel_metrics_port=None))
    builder = dd.DataDesignerConfigBuilder(
        model_configs=[
            dd.ModelConfig(
                alias="teacher",
                model="fake",
                provider="teacher",
                inference_parameters=dd.ChatCompletionInferenceParams(
                    max_parallel_requests=job.in_flight, timeout=300, **SAMPLING
                ),
                skip_health_check=True,
            )
        ]
    )
    builder.with_seed_dataset(dd.DataFrameSeedSource(df=seed))
    builder.add_column(
        dd.LLMTextColumnConfig(name="answer", prompt="{{ user }}", system_prompt="{{ system }}", model_alias="teacher")
    )
    designer.create(builder, num_records=len(seed), dataset_name="answers", resume=dd.ResumeMode.IF_POSSIBLE)


if __name__ == "__main__":
    run(_make)
