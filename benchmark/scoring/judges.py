"""Whether the judge of fooling_rate can tell a model's samples from true frames. Nothing here imports torch."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

LEAST_RIGHT = 0.6  # balanced accuracy, of which a coin has 0.5
FOOLED, TRUE = "fooling_rate", "fooling_rate_true"  # shares taken for real: of a model's windows, and of true ones


def cannot_tell(rows: "pd.DataFrame") -> list[str]:
    """Return the models of results' rows whose judge is right about less than LEAST_RIGHT of windows, true or not.

    That is the mean of its shares of true windows taken for real and of the model's windows not taken for real. The
    samples are then as good as true frames, or the judge is too weak: its fooling rate alone does not say which.
    """
    means = rows[(rows["frame"] == "mean") & rows["sampling"].isin(("mean", "single")) & (rows["clips"] > 0)]
    shares = means.pivot_table(index="model", columns="metric", values="value", sort=False)
    if not {FOOLED, TRUE} <= {*shares.columns}:
        return []
    return [str(model) for model in shares.index[(shares[TRUE] + 1 - shares[FOOLED]) / 2 < LEAST_RIGHT]]
