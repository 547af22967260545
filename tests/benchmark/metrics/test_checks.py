import math

import pytest
import torch

from benchmark.metrics.checks import check_unit_range
from mmnist_av.system.errors import InputError


def test_values_from_0_to_1_pass():
    check_unit_range(torch.tensor([0.0, 0.5, 1.0]), "frames")


@pytest.mark.parametrize("value", [-1e-6, 1.001, math.nan, math.inf, -math.inf])
def test_other_values_are_refused_by_name(value):
    with pytest.raises(InputError, match=r"prediction: values in \[0, 1\] expected, found"):
        check_unit_range(torch.tensor([0.5, value]), "prediction")
