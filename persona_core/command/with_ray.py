"""Learn with Ray: on all machines of a cluster, or in several processes of this one.

Who works where, what is tried again and what becomes of a worker that died is for Ray Data's actor pool to decide.
"""

import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from .plan import Plan
from .results import Result
from .rows import Row
from .stopping import SIGNALS, Stopped
from .storage import is_url, path_of

LOCAL = "local"  # of Ray's addresses, the one that starts a cluster of its own, on this machine
PACK = Path(__file__).parents[1]
HOURS = 6
# Ray's own variables, which are read when it is imported. Whoever has set one has the last word.
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing leaves the machine
    "RAY_LOG_TO_DRIVER": "0",  # ComfyUI's lines of every worker
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_LOGGER_LEVEL": "error",
    "RAY_DATA_LOG_LEVEL": "CRITICAL",  # an error is told by us, in a sentence
    # How long may nothing be learned? At Ray's half an hour, slow learning would be taken for none. At no end, a
    # person that kills every worker would be tried for ever.
    "RAY_DATA_EXECUTION_NO_PROGRESS_TIMEOUT_S": str(HOURS * 3600),
    # A machine may be taken away while a worker on it loads the models.
    "RAY_DATA_MAX_CONSECUTIVE_ACTOR_INIT_DEATHS": "3",
}


class ClusterError(RuntimeError):
    """There is no Ray, no cluster, or it could not go on."""


class Worker:
    """In a process of its own, with the models in it, as long as the pool has it."""

    def __init__(self, plan: Plan) -> None:
        self.learner = plan.learner()

    def __call__(self, batch: Mapping[str, Sequence[Row]]) -> Iterator[Mapping[str, Sequence[Result]]]:
        yield {"result": self.learner.learn(batch["row"])}


def learn_with_ray(
    plan: Plan,
    rows: Sequence[Row],
    address: str = LOCAL,
    workers: tuple[int, int] | None = None,
    gpus_per_worker: float | None = None,
    cpus_per_worker: int | None = None,
) -> Iterator[Result]:
    """The results in the order in which they come.

    address: as `ray.init` takes it. workers: at least and at most; None: one for each GPU or share of one, or one.
    gpus_per_worker: a share, such as 0.25; None: one, where there are any. cpus_per_worker: also the threads of each;
    None: one. Raises ClusterError.
    """
    if not rows:
        return
    os.environ.update({name: value for name, value in SETTINGS.items() if name not in os.environ})
    try:
        import ray
        from ray.data.exceptions import ExecutionTimeoutError
        from ray.exceptions import RayActorError, RayTaskError
    except ImportError as error:
        raise ClusterError(f"Ray is not installed here ({error}): pip install 'ray[data]>=2.60'") from error
    waiting = {row.id for row in rows}
    with stopped_at_once():
        connect(address)
    batches = learned(plan, rows, workers, gpus_per_worker, cpus_per_worker)
    try:
        while (results := next_of(batches)) is not None:
            waiting -= {result.id for result in results}
            yield from results
    except RayTaskError as error:
        raise ClusterError(f"A worker failed: {str(error.cause).splitlines()[0]}") from error
    except RayActorError as error:
        raise ClusterError(f"A worker did not start: {str(error).splitlines()[-1]}") from error
    except ExecutionTimeoutError as error:
        limit = float(os.environ["RAY_DATA_EXECUTION_NO_PROGRESS_TIMEOUT_S"]) / 3600
        raise ClusterError(
            f"Nobody was learned for {limit:g} hours. {told(waiting)} Perhaps they kill their workers, as with too "
            "little memory, or the cluster has no room for one (RAY_DATA_EXECUTION_NO_PROGRESS_TIMEOUT_S)."
        ) from error
    finally:
        ray.shutdown()
    if waiting:
        raise ClusterError(f"{told(waiting)} Run the same command again.")


def next_of(batches: Iterator[Sequence[Result]]) -> Sequence[Result] | None:
    with stopped_at_once():
        return next(batches, None)


@contextmanager
def stopped_at_once() -> Iterator[None]:
    """Within, Ctrl-C and being asked to end raise Stopped wherever it is. To wait for whoever is whole first would keep
    nothing of the others, whose workers end with the command. Ray's own handlers, which abort, are gone after it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signum: int, frame: object) -> None:
        raise Stopped(signum)

    before = {one: signal.signal(one, stop) for one in SIGNALS}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def connect(address: str) -> None:
    """Workers on other machines get this very pack; what it needs must be there."""
    import ray

    sent = {} if address == LOCAL else {"py_modules": [str(PACK)], "excludes": ["__pycache__/"]}
    try:
        ray.init(address, include_dashboard=False, runtime_env=sent)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ClusterError(f"No Ray cluster at {address}: {error}") from error


def learned(
    plan: Plan,
    rows: Sequence[Row],
    workers: tuple[int, int] | None,
    gpus: float | None,
    cpus: int | None,
) -> Iterator[Sequence[Result]]:
    import ray

    on_cluster = ray.cluster_resources().get("GPU", 0)
    if gpus is None:
        gpus = min(1, on_cluster)
    least, most = workers or (max(1, int(on_cluster / gpus)) if gpus else 1,) * 2
    # One block for each batch: Ray passes on whole blocks, so that a result comes as soon as its batch is done.
    size = plan.wave if plan.at_once > 1 else 1
    blocks = -(-len(rows) // size)
    people = ray.data.from_items([{"row": row} for row in rows], override_num_blocks=blocks)
    results = people.map_batches(
        Worker,
        fn_constructor_args=(named_whole(plan),),
        batch_size=size,
        compute=ray.data.ActorPoolStrategy(min_size=least, max_size=most),
        num_gpus=gpus or None,
        num_cpus=cpus,
    )
    # Without prefetching, which would keep a result back until the next one comes.
    for batch in results.iter_batches(batch_size=None, prefetch_batches=0):
        yield list(batch["result"])


def named_whole(plan: Plan) -> Plan:
    """With whole paths: a worker is started in another folder, perhaps on another machine."""
    files = "checkpoint", "diffusion_model", "text_encoder", "vae", "clip_vision"
    there = {name: path_of(getattr(plan, name)) for name in files if getattr(plan, name)}
    whole: dict[str, Any] = {name: str(path.absolute()) for name, path in there.items() if path.is_file()}
    out = plan.out if is_url(plan.out) else str(path_of(plan.out).absolute())
    return replace(plan, out=out, **whole)


def told(waiting: set[str]) -> str:
    some = ", ".join(sorted(waiting)[:5])
    return f"{len(waiting)} without a result: {some}{', ...' if len(waiting) > 5 else ''}."
