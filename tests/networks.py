"""What tests of several families do to a network."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode

from actlib.models import list_models

_HF, _HF_NAMES = "num_frames=4 crop_size=32 hidden_size=24", ("hf_videomae", "hf_timesformer", "hf_vivit")
# Options for clips of 4×32×32, where a network is built for one size of clip or is large.
SMALL_OPTIONS: dict[str, str] = {
    "c3d": "crop_size=32 width_mult=0.125",
    "wideresnet50": "widen_k=1",  # at 2 it has 158 million parameters
    "tv_mvit_v1_b": "num_frames=4 crop_size=32",
    "tv_mvit_v2_s": "num_frames=4 crop_size=32",
    **{name: f"{_HF} num_hidden_layers=2 num_attention_heads=2 intermediate_size=40" for name in _HF_NAMES},
    "hf_vjepa2": f"{_HF} num_hidden_layers=2 num_attention_heads=2 num_pooler_layers=1",
    "hf_videoprism": f"{_HF.replace(' hidden', ' patch_size=16 hidden')} num_spatial_layers=1 num_temporal_layers=1 "
    "num_attention_heads=2 intermediate_size=40",
    **{f"{kind}_timm": "backbone=test_resnet" for kind in ("tsn", "tam", "tsm")},
}


def small_spec(name: str) -> str:
    return f"{name} {SMALL_OPTIONS.get(name, '')}".strip()


def smallest_of_each_family() -> list[str]:
    """The shallowest network of each name; what depends on the depth is checked for all of them without storage."""
    families: dict[str, str] = {}
    for name in list_models():
        families.setdefault(name.rstrip("0123456789"), name)
    alike = {"tv_swin3d_b", "tv_swin3d_s", "x3d_s", "x3d_m", "x3d_l", "slowfast_r101_16x8"}  # as one that stays
    return [name for name in families.values() if name not in alike]


def randomise_norms(model: nn.Module) -> nn.Module:
    """Give every batch norm statistics and weights of its own, since fresh ones hide errors; evaluation mode."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.eval()


class QuickNorms(TorchDispatchMode):
    """A batch norm of clips without storage answers at once with its input's shape: to find that, torch takes most of
    a forward pass."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is not torch.ops.aten.native_batch_norm.default or not args[0].is_meta:
            return func(*args, **(kwargs or {}))
        clips, *tensors = args[:5]
        assert all(each.shape == (clips.shape[1],) for each in tensors)
        statistics = clips.new_empty(clips.shape[1])
        return torch.empty_like(clips), statistics, statistics.clone()


def losses_on_contrast(model: nn.Module) -> list[float]:
    """Train on eight clips of two classes, told apart by their contrast; the loss of each of 24 steps."""
    labels = torch.arange(8) % 2
    x = torch.randn(8, 3, 4, 32, 32) * torch.where(labels == 1, 1.5, 0.5).view(-1, 1, 1, 1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    losses = []
    for _ in range(24):
        loss = F.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
