"""Devices and precisions are chosen by what the hardware does faster."""

import pytest
import torch

from benchmark.compute import choose_compute


@pytest.mark.parametrize("amx", [False, True])
def test_a_cpu_computes_in_bfloat16_where_it_has_amx(amx, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    compute = choose_compute("cpu")
    assert compute.precision == ("bfloat16" if amx else "float32")
    with compute.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == (torch.bfloat16 if amx else torch.float32)
