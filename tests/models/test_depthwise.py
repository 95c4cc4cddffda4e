"""The depthwise convolution with its own backward pass against torch's."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from actlib.models.parts.depthwise import DepthwiseConv3d

# kernel, stride, padding, input (B, C, T, H, W): those of the networks, and shapes that leave taps or frames over
CASES = [
    ((3, 3, 3), (1, 1, 1), (1, 1, 1), (2, 2, 3, 4, 5)),
    ((3, 3, 3), (2, 2, 2), (1, 1, 1), (2, 2, 3, 4, 5)),
    ((3, 3, 3), (1, 2, 2), (1, 1, 1), (1, 3, 4, 6, 6)),
    ((3, 3, 3), (2, 2, 2), (1, 1, 1), (2, 2, 1, 2, 8)),
    ((3, 3, 3), (1, 1, 1), (1, 1, 1), (2, 4, 1, 1, 1)),
    ((3, 1, 1), (2, 1, 1), (1, 0, 0), (2, 3, 2, 4, 4)),
    ((5, 3, 1), (3, 1, 2), (2, 0, 0), (2, 4, 7, 5, 5)),
]
LAST = {"memory_format": torch.channels_last_3d}


@pytest.mark.parametrize(("kernel", "stride", "padding", "shape"), CASES)
def test_gradients_are_those_of_the_function(kernel, stride, padding, shape):
    torch.manual_seed(0)
    conv = DepthwiseConv3d(shape[1], kernel, stride, padding).double()
    x = torch.randn(shape, dtype=torch.double).contiguous(**LAST).requires_grad_()
    call = lambda x, weight: torch.func.functional_call(conv, {"weight": weight}, (x,))  # noqa: E731
    assert call(x, conv.weight).grad_fn.name().startswith("_Depthwise")
    assert torch.autograd.gradcheck(call, (x, conv.weight))


@pytest.mark.parametrize(("kernel", "stride", "padding", "shape"), CASES)
def test_equals_a_convolution_of_torch(kernel, stride, padding, shape):
    torch.manual_seed(0)
    conv = DepthwiseConv3d(shape[1], kernel, stride, padding)
    plain = nn.Conv3d(shape[1], shape[1], kernel, stride, padding, groups=shape[1], bias=False)
    plain.load_state_dict(conv.state_dict())
    x = torch.randn(shape).contiguous(**LAST)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, want = conv(ours), plain(theirs)
    assert torch.equal(y, want)
    grad = torch.randn_like(y)
    y.backward(grad)
    want.backward(grad)
    torch.testing.assert_close(ours.grad, theirs.grad)
    torch.testing.assert_close(conv.weight.grad, plain.weight.grad)


def test_contiguous_clips_are_laid_out_channels_last():
    torch.manual_seed(0)
    conv = DepthwiseConv3d(3, 3, padding=1)
    x = torch.randn(1, 3, 2, 4, 4, requires_grad=True)
    y = conv(x)
    assert y.grad_fn.name().startswith("_Depthwise") and y.is_contiguous(**LAST)
    torch.testing.assert_close(y, F.conv3d(x, conv.weight, padding=1, groups=3))
    y.square().sum().backward()
    mine, x.grad = x.grad, None
    F.conv3d(x, conv.weight, padding=1, groups=3).square().sum().backward()
    torch.testing.assert_close(mine, x.grad)


def test_only_what_is_asked_for_is_computed():
    conv = DepthwiseConv3d(3, 3, padding=1)
    conv.weight.requires_grad_(False)
    x = torch.randn(1, 3, 2, 4, 4).contiguous(**LAST).requires_grad_()
    conv(x).sum().backward()
    assert x.grad is not None and conv.weight.grad is None
    assert not conv(x.detach()).requires_grad
    with torch.no_grad():
        assert torch.equal(conv(x), F.conv3d(x, conv.weight, padding=1, groups=3))


def test_autocast_computes_in_bf16_and_keeps_float32_gradients():
    torch.manual_seed(0)
    conv = DepthwiseConv3d(4, 3, padding=1)
    plain = nn.Conv3d(4, 4, 3, padding=1, groups=4, bias=False)
    plain.load_state_dict(conv.state_dict())
    x = torch.randn(2, 4, 3, 5, 5).contiguous(**LAST)
    outputs = []
    for module in (conv, plain):
        clip = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            y = module(clip)
        y.float().square().sum().backward()
        assert y.dtype == torch.bfloat16 and clip.grad.dtype == module.weight.grad.dtype == torch.float32
        outputs.append((y, clip.grad, module.weight.grad))
    for ours, theirs in zip(*outputs):
        torch.testing.assert_close(ours, theirs, rtol=0.05, atol=0.05)


def test_a_copy_and_the_meta_device_work():
    conv = copy.deepcopy(DepthwiseConv3d(4, 3, stride=2, padding=1)).to("meta")
    x = torch.empty(2, 4, 4, 8, 8, device="meta", requires_grad=True)
    conv(x).sum().backward()
    assert x.grad.shape == x.shape and conv.weight.grad.shape == (4, 1, 3, 3, 3)


def test_padding_beyond_the_kernel_is_refused():
    with pytest.raises(ValueError, match=r"padding \(1, 1, 1\) is wider than the kernel \(1, 1, 1\)"):
        DepthwiseConv3d(2, 1, padding=1)
