"""Running one store's partition in this process, and reading what the run said."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import dagster as dg
import psutil
from dagster._core.instance.ref import InstanceRef

from fashion_pipeline.defs.metadata import SECONDS, this_run
from fashion_pipeline.defs.partitions import stores
from fashion_pipeline.errors import FashionError, SettingsError
from fashion_pipeline.settings import Settings
from fashion_pipeline.storage.files import make_directory, put
from fashion_pipeline.storage.home import Home

PROCESS_TAG = "fashion_pipeline/process"

UNCAPTURED = {
    "compute_logs": {
        "module": "dagster._core.storage.noop_compute_log_manager",
        "class": "NoOpComputeLogManager",
    }
}
"""For runs in the process of the command line. Dagster's own way leads what they print through files and a ``tail``, so
that bars find no terminal, and starts watchers that Ctrl-C ends with a traceback."""

INSTANCE = """\
# Written by fashion-pipeline where DAGSTER_HOME names no other instance. Yours to change.
telemetry:
  enabled: false
nux:
  enabled: false
concurrency:
  pools:
    granularity: op
  runs:
    max_concurrent_runs: 4
    tag_concurrency_limits:
      - key: dagster/partition
        value: {applyLimitPerUniqueValue: true}
        limit: 1
run_monitoring:
  enabled: true
  max_runtime_seconds: 21600
  poll_interval_seconds: 30
  free_slots_after_run_end_seconds: 30
"""


@dataclass
class StoreResult:
    """What one run of one store did.

    Attributes:
        counts: by asset, the numbers its domain counted.
        seconds: by asset.
        error: what ended the run early, as it was raised.
    """

    store_id: str
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    error: BaseException | None = None


def prepare_instance(settings: Settings) -> Path:
    """Name Dagster's home in the environment, writing its configuration on first use.

    Raises:
        SettingsError: ``DAGSTER_HOME`` names no directory.
    """
    if named := os.environ.get("DAGSTER_HOME"):
        given = Path(named).expanduser()
        if not (given.is_absolute() and given.is_dir()):
            msg = f"DAGSTER_HOME={named}: must be the absolute path of a directory that exists; unset, it lies under the home"
            raise SettingsError(msg)
        return given
    directory = Home(settings.home_path).local("dagster")
    if not (directory / "dagster.yaml").exists():
        make_directory(directory)
        put(Home(directory).root / "dagster.yaml", INSTANCE.encode())
    os.environ["DAGSTER_HOME"] = str(directory)
    return directory


@contextlib.contextmanager
def instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """Open Dagster's instance with the stores of ``stores.yaml`` as partitions, and no orphaned run."""
    found = InstanceRef.from_dir(str(prepare_instance(settings)), overrides=UNCAPTURED)
    with dg.DagsterInstance.from_ref(found) as opened:
        sync_partitions(opened, list(settings.store_list()))
        report_orphans(opened)
        yield opened


def sync_partitions(opened: dg.DagsterInstance, store_ids: list[str]) -> None:
    """Add the partitions that are missing; those of detached stores stay, with their history."""
    name = str(stores.name)
    known = set(opened.get_dynamic_partitions(name))
    if missing := [store_id for store_id in store_ids if store_id not in known]:
        opened.add_dynamic_partitions(name, missing)


def report_orphans(opened: dg.DagsterInstance) -> list[str]:
    """Report as failed the runs whose process was killed, and free what they held.

    Dagster watches only the processes that its daemon started; a killed command line would stay
    "started" and block the store until the maximum run time.
    """
    unfinished = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING])
    orphans = []
    for run in opened.get_runs(unfinished):
        process = run.tags.get(PROCESS_TAG)
        if process is None or _lives(process):
            continue
        opened.report_run_failed(
            run, "the process of this run was killed; the next run of the store repairs what it left"
        )
        opened.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        orphans.append(run.run_id)
    return orphans


def run_store(
    opened: dg.DagsterInstance,
    job: dg.JobDefinition,
    store_id: str,
    *,
    sweep: bool = False,
    allow_removals: bool = False,
) -> StoreResult:
    """Run the job ``ingest_store`` for one store, in this process."""
    result = StoreResult(store_id)
    run_id = str(uuid.uuid4())
    try:
        job.execute_in_process(
            instance=opened,
            run_id=run_id,
            partition_key=store_id,
            run_config={
                "resources": {"run": {"config": {"sweep": sweep, "allow_removals": allow_removals}}},
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
            },
            tags={PROCESS_TAG: _this_process()},
        )
    except BaseException as error:  # noqa: BLE001 - whatever ended the run, the caller reports it
        result.error = _cause(error)
    for record in opened.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION).records:
        event = record.event_log_entry.dagster_event
        if event is None or event.asset_key is None:
            continue
        metadata = event.step_materialization_data.materialization.metadata
        asset = event.asset_key.path[-1]
        result.counts[asset] = this_run(metadata)
        result.seconds[asset] = cast("float", metadata[SECONDS].value)
    if isinstance(result.error, dg.DagsterExecutionInterruptedError):  # Ctrl-C or SIGTERM while Dagster was watching
        raise KeyboardInterrupt from result.error
    if isinstance(result.error, KeyboardInterrupt | SystemExit):
        raise result.error
    return result


SINK_FAILURES = {"DatabaseUnavailable", "LockLost", "VectorStoreUnavailable"}


def failed_on_sink(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Return whether a run failed because PostgreSQL or Qdrant did not answer: the shop is not to blame."""
    kinds = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    for record in instance.all_logs(run_id, of_type=kinds):
        event = record.dagster_event
        error: Any = None
        if event is not None and event.event_type is dg.DagsterEventType.STEP_FAILURE:
            error = event.step_failure_data.error
        elif event is not None:
            error = getattr(event.event_specific_data, "error", None)
        while error is not None:
            if error.cls_name in SINK_FAILURES:
                return True
            error = error.cause
    return False


def _cause(error: BaseException) -> BaseException:
    """Return our own error where Dagster wrapped it, as it does when a resource cannot be opened."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, FashionError):
        found = getattr(found, "user_exception", None) or found.__cause__
    return found or error


def _this_process() -> str:
    return f"{os.getpid()}@{psutil.Process().create_time():.2f}"


def _lives(process: str) -> bool:
    pid, _, created = process.partition("@")
    try:
        return f"{psutil.Process(int(pid)).create_time():.2f}" == created
    except (psutil.NoSuchProcess, ValueError):
        return False
