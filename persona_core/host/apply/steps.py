"""Which steps of a sampling a persona stands in: with few steps, perhaps none."""

from collections.abc import Sequence

from torch import Tensor

from ..messages import log, warn
from ..model import discrete_timestep
from .context import Table


def tell_of_steps(sampling, sigmas: Tensor, tables: Sequence[Table]) -> None:
    """Say it in the log; and to the artist where a whole sampling has no step for a persona.

    sampling: the model's. sigmas: of the steps, and of their end.
    """
    timesteps = [discrete_timestep(sampling, sigma[None]) for sigma in sigmas[:-1]]
    whole = len(sigmas) > 1 and sigmas[-1] == 0 and sigmas[0] >= sampling.sigma_max
    for table in tables:
        if table.constant:
            continue
        names = " or ".join(sorted(table.placeholders))
        there = [t for t in timesteps if table.at(t)[0] is not table.base]
        log.info("%s: in %d of %d steps, t %s", names, len(there), len(timesteps), ", ".join(f"{t:.0f}" for t in there))
        if whole and not there:
            each = ", ".join(f"{t:.0f}" for t in timesteps)
            warn(
                f"None of the {len(timesteps)} steps has noise of the stage in which {names} stands: they are at t "
                f"{each}. Take more steps, or another scheduler; or set early_stage and late_stage to persona."
            )
