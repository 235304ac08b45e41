"""Outputs by shapes alone are those that PyTorch gives, and choosing tiles does without its compiler."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bundle.cascade.outputs import output_of

ROOT = Path(__file__).parents[2]
A = torch.empty(2, 3, 4, device="meta")
B = torch.empty(3, 1, device="meta")
HALF = torch.empty(2, 3, 4, device="meta", dtype=torch.float16)
TRUE = torch.empty(2, 3, 4, device="meta", dtype=torch.bool)
SCALAR = torch.empty((), device="meta", dtype=torch.float64)
aten = torch.ops.aten


@pytest.mark.parametrize(
    ("func", "args"),
    [
        (aten.add.Tensor, (A, B)),
        (aten.mul.Tensor, (B, A)),
        (aten.mul.Tensor, (A, 2.0)),
        (aten.mul.Tensor, (HALF, A)),
        (aten.mul.Tensor, (HALF, SCALAR)),
        (aten.sub.Tensor, (A, A)),
        (aten.sigmoid.default, (HALF,)),
        (aten.leaky_relu.default, (A, 0.2)),
        (aten.clamp.default, (A, 0, 1)),
        (aten.sqrt.default, (A,)),
        (aten.gt.Scalar, (A, 0)),
        (aten.lt.Tensor, (A, B)),
        (aten.logical_and.default, (TRUE, TRUE)),
        (aten.where.self, (TRUE, A, A)),
        (aten.cat.default, ([A, A, A],)),
        (aten.cat.default, ([A, A], 1)),
        (aten.cat.default, ([A, A], -1)),
        (aten._prelu_kernel.default, (A, torch.empty(1, 3, 1, device="meta"))),
    ],
    ids=str,
)
def test_same_as_pytorch(func, args):
    ours, theirs = output_of(func, args), func(*args)
    assert ours is not None
    assert (ours.shape, ours.dtype, ours.is_meta) == (theirs.shape, theirs.dtype, True)


def test_in_place_is_the_same_tensor():
    assert output_of(aten.add_.Tensor, (A, 1.0)) is A


def test_others_are_asked_for():
    assert output_of(aten.convolution.default, (A,)) is None
    assert output_of(aten.add.Tensor, (torch.ones(3), torch.ones(3))) is None


def test_no_compiler():
    """In a process of its own, with the shipped network and what MONAI imports."""
    code = """
import sys
import monai.bundle
import torch
from monai.bundle import ConfigParser
from bundle.cascade.tile_plan import plan_tiles
from bundle.geometry import pyramid, shapes
parser = ConfigParser(ConfigParser.load_config_file("configs/inference.json"))
network = parser.get_parsed_content("network_def")
grids = shapes((160, 128, 96), pyramid((1.0, 1.0, 1.0), 3))
plans = plan_tiles(network, grids, 1, None, 2**31, False)
assert len(plans) == 4, plans
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "False", done.stdout + done.stderr
