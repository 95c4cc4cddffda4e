"""A depthwise 3-D convolution whose backward pass is as fast on a CPU as its forward pass.

y[c] = w[c] ∗ x[c]: one small kernel a channel, few multiplications, and a backward pass in torch's CPU kernels that
takes many times as long as the forward pass. Both gradients can be had from kernels that are fast there:
    to the input:   the forward convolution with w flipped, of ∂y with stride − 1 zeros put between its elements
    to the weights: for each tap in time, a 2-D depthwise gradient over pairs of frames, one sample after the other,
                    so that the frames stay in the cache
`make bench` prints what that gains on the machine at hand, layer by layer and for whole networks. The gradients equal
torch's up to rounding. Only CPU tensors that need a gradient take this way; all else is `torch.nn.Conv3d`. They are
laid out channels last first: with one thread torch computes 1×1×1 convolutions, which stand before these in every
block, by a kernel that gives contiguous tensors, whatever the layout of its input.
"""

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable


class DepthwiseConv3d(nn.Conv3d):
    """nn.Conv3d with groups = channels, one kernel a channel and no bias; the same state dict.

    kernel_size, stride and padding: for all three axes, or one each (T, H, W).
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int | tuple[int, int, int],
        stride: int | tuple[int, int, int] = 1,
        padding: int | tuple[int, int, int] = 0,
    ):
        super().__init__(channels, channels, kernel_size, stride, padding, groups=channels, bias=False)
        if any(p > k - 1 for p, k in zip(self.padding, self.kernel_size)):
            raise ValueError(f"padding {self.padding} is wider than the kernel {self.kernel_size} less one")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, C, T, H, W). Returns (B, C, T', H', W')."""
        needs_gradient = torch.is_grad_enabled() and (x.requires_grad or self.weight.requires_grad)
        if not (needs_gradient and x.device.type == "cpu") or torch.compiler.is_compiling():
            return super().forward(x)
        x, weight = x.contiguous(memory_format=torch.channels_last_3d), self.weight
        if torch.is_autocast_enabled("cpu") and x.dtype != torch.float64:  # as for a convolution of torch's own
            dtype = torch.get_autocast_dtype("cpu")
            x, weight = x.to(dtype), weight.to(dtype)
        return _Depthwise.apply(x, weight, self.stride, self.padding)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, stride, padding):
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv3d(x, weight, None, stride, padding, groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last_3d)
        to_x = input_gradient(grad, x, weight, ctx.stride, ctx.padding) if ctx.needs_input_grad[0] else None
        to_weight = weight_gradient(grad, x, weight, ctx.stride, ctx.padding) if ctx.needs_input_grad[1] else None
        return to_x, to_weight, None, None


def input_gradient(grad, x, weight, stride, padding) -> torch.Tensor:
    """∂x (B, C, T, H, W) from grad = ∂y (B, C, T', H', W'), for weight (C, 1, kT, kH, kW)."""
    kernel = weight.shape[2:]
    if any(step > 1 for step in stride):
        dense = [size + 2 * p - k + 1 for size, p, k in zip(x.shape[2:], padding, kernel)]  # ∂y's size at stride 1
        layout = {"dtype": x.dtype, "device": x.device, "memory_format": torch.channels_last_3d}
        spread = torch.empty(*x.shape[:2], *dense, **layout).zero_()
        spread[:, :, :: stride[0], :: stride[1], :: stride[2]] = grad
        grad = spread
    around = [k - 1 - p for p, k in zip(padding, kernel)]
    return F.conv3d(grad, weight.flip(2, 3, 4), None, 1, around, groups=len(weight))


def weight_gradient(grad, x, weight, stride, padding) -> torch.Tensor:
    """∂weight (C, 1, kT, kH, kW) from grad = ∂y (B, C, T', H', W') and x (B, C, T, H, W); summed in float32."""
    channels, taps = len(weight), weight.shape[2]
    num_frames, num_outputs, step = x.shape[2], grad.shape[2], stride[0]
    wide = torch.promote_types(x.dtype, torch.float32)
    total = x.new_zeros(taps, channels, 1, *weight.shape[3:], dtype=wide)
    kernel = weight[:, :, 0]
    x, grad = x.transpose(1, 2), grad.transpose(1, 2)  # (B, T, C, H, W): a sample is a batch of images
    for tap in range(taps):
        shift = tap - padding[0]  # this tap multiplies output frame t with input frame step · t + shift
        first = max(0, -(shift // step))
        last = min(num_outputs - 1, (num_frames - 1 - shift) // step)
        if last < first:
            continue
        frames = slice(first * step + shift, last * step + shift + 1, step)
        for images, gradients in zip(x[:, frames], grad[:, first : last + 1]):
            total[tap] += torch.ops.aten.convolution_backward(
                gradients, images, kernel, None, stride[1:], padding[1:], [1, 1], False, [0, 0], channels,
                [False, True, False],
            )[1]  # fmt: skip
    return total.movedim(0, 2).to(weight.dtype)
