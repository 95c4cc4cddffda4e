"""10 clips × 3 crops of videos that lie as folders of JPEGs, in plain PyTorch as pytorch-resnet3d's eval.py has them:
Pillow loads each picture once a video, resizes it for every clip and crop anew, clips are normalised float32 in the
worker and leave it all thirty together, the network runs unfolded, contiguous, on one view of each video at a time.

    python plain_views.py FOLDER BATCH_SIZE WORKERS FRAMES SIDE MODEL   (FOLDER/<video>/*.jpg, no labels)
"""

import random
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import functional as F

from actlib.models import create_from_spec

MEAN, STD = 114.75, 57.375  # of all channels, on the 0-255 scale


class TenClipsThreeCrops(Dataset):
    def __init__(self, folder: str, length: int, side: int):
        self.videos = sorted(path for path in Path(folder).iterdir() if path.is_dir())
        self.length, self.side = length, side

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> torch.Tensor:
        paths, loaded = sorted(self.videos[index].glob("*.jpg")), {}
        half, views = self.length // 2, []
        for centre in np.linspace(half, len(paths) - half, 10).astype(int):
            for path in paths[centre - half : centre + half]:
                loaded.setdefault(path, None)
                loaded[path] = loaded[path] or Image.open(path).convert("RGB")
            clip = [loaded[path] for path in paths[centre - half : centre + half]]
            views.append(torch.stack([self.crop(clip) for _ in range(3)]))
        return torch.stack(views)  # (10, 3, 3, T, side, side)

    def crop(self, clip: list) -> torch.Tensor:
        clip = [F.resize(image, self.side) for image in clip]
        left, top = (random.randint(0, room - self.side) for room in clip[0].size)
        clip = [F.to_tensor(image.crop((left, top, left + self.side, top + self.side))) * 255 for image in clip]
        return ((torch.stack(clip) - MEAN) / STD).permute(1, 0, 2, 3)


if __name__ == "__main__":
    folder, batch_size, workers, length, side, model = sys.argv[1:]
    data = TenClipsThreeCrops(folder, int(length), int(side))
    network = create_from_spec(model, 400).eval()
    with torch.no_grad():
        for frames in DataLoader(data, batch_size=int(batch_size), num_workers=int(workers)):
            scores = sum(network(frames[:, clip, crop]) for clip in range(10) for crop in range(3)) / 30
            print(scores.argmax(dim=1).tolist())
