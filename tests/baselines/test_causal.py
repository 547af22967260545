"""Causal encoders see no later input, continue from their caches, and equal torch's."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from baselines.layers.causal import CausalLSTM, CausalTransformer


def transformer(tanh=False):
    return CausalTransformer(128, 256, heads=4, feedforward=128, position_dropout=0.2, dropout=0.1, tanh=tanh).eval()


def test_transformer_output_ignores_later_inputs():
    encoder = transformer()
    inputs = torch.randn(2, 6, 128)
    changed = inputs.clone()
    changed[:, 4:] += 1
    assert torch.equal(encoder(inputs)[0][:, :4], encoder(changed)[0][:, :4])
    assert not torch.equal(encoder(inputs)[0][:, 4:], encoder(changed)[0][:, 4:])


def test_transformer_step_by_step_equals_one_causal_pass():
    encoder = transformer()
    inputs = torch.randn(2, 6, 128)
    whole, _ = encoder(inputs)
    parts, past = encoder(inputs[:, :3])
    outputs = [parts]
    for t in range(3, 6):
        part, past = encoder(inputs[:, t : t + 1], past)
        outputs.append(part)
    torch.testing.assert_close(torch.cat(outputs, 1), whole, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("tanh", [False, True])
def test_transformer_equals_torchs_encoder_layer(tanh):
    ours = transformer(tanh)
    theirs = nn.TransformerEncoderLayer(256, 4, 128, batch_first=True).eval()
    theirs.self_attn.in_proj_weight.data, theirs.self_attn.in_proj_bias.data = (
        ours.attention_in.weight.data,
        ours.attention_in.bias.data,
    )
    theirs.self_attn.out_proj.load_state_dict(ours.attention_out.state_dict())
    theirs.linear1.load_state_dict(ours.feedforward[0].state_dict())
    theirs.linear2.load_state_dict(ours.feedforward[3].state_dict())
    inputs = torch.randn(2, 6, 128)
    wide = functional.leaky_relu(ours.widen(inputs)) * 16 + ours.positions(0, 6, torch.device("cpu"))
    mask = nn.Transformer.generate_square_subsequent_mask(6)
    expected = ours.narrow(theirs(wide, src_mask=mask, is_causal=True))
    expected = torch.tanh(expected) if tanh else expected
    torch.testing.assert_close(ours(inputs)[0], expected, atol=1e-5, rtol=1e-4)


def test_the_causal_lstm_continues_from_its_cache():
    lstm = CausalLSTM(128)
    inputs = torch.randn(2, 6, 128)
    whole, _ = lstm(inputs)
    start, past = lstm(inputs[:, :3])
    rest, _ = lstm(inputs[:, 3:], past)
    torch.testing.assert_close(torch.cat([start, rest], 1), whole)
