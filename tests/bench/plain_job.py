"""A whole job as the reference codebases do it, in plain PyTorch: frames by PIL one by one, transformed and normalised
in the worker, float32, contiguous, accuracies asked for after every batch, softmax of all windows averaged.

    python plain_job.py TABLE NETWORK EPOCHS BATCH_SIZE    # TABLE: table.csv of videos that are folders of JPEGs
"""

import random
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

from actlib.models import create_from_spec

SIZE, FRAMES, SCALES = 112, 16, (1.0, 0.8409, 0.7071, 0.5946, 0.5)
MEAN, STD = torch.tensor([0.4345, 0.4051, 0.3775]), torch.tensor([0.2768, 0.2713, 0.2737])


class Clips(Dataset):
    """(clip (C, T, H, W), label, video), one random clip a video, or with `windows` every one without overlap."""

    def __init__(self, rows, classes, random_clip, windows=False):
        self.random_clip, self.items = random_clip, []
        for video, row in enumerate(rows.itertuples()):
            starts = range(0, int(row.num_frames) - FRAMES + 1, FRAMES) if windows else [None]
            self.items += [(row.path, int(row.num_frames), classes.index(row.label), video, each) for each in starts]

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        path, length, label, video, start = self.items[index]
        middle = (length - FRAMES) // 2
        start = start if start is not None else random.randint(0, length - FRAMES) if self.random_clip else middle
        images = [Image.open(f"{path}/image_{start + i + 1:05d}.jpg").convert("RGB") for i in range(FRAMES)]
        width, height = images[0].size
        side = int(min(width, height) * (random.choice(SCALES) if self.random_clip else 1))
        corner = random.choice([(0, 0), (1, 0), (0, 1), (1, 1), (0.5, 0.5)]) if self.random_clip else (0.5, 0.5)
        x, y = int(corner[0] * (width - side)), int(corner[1] * (height - side))
        frames = []
        for image in images:
            image = image.crop((x, y, x + side, y + side)).resize((SIZE, SIZE), Image.BILINEAR)
            pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float().div(255)
            frames.append((pixels - MEAN[:, None, None]) / STD[:, None, None])
        return torch.stack(frames, 1), label, video


def main(table, network, epochs, batch_size):
    rows = pd.read_csv(table)
    rows["path"] = [str(Path(table).parent / path) for path in rows["path"]]
    classes = sorted(rows["label"].unique())
    training, validation = (rows[rows["subset"] == each] for each in ("training", "validation"))
    sets = Clips(training, classes, True), Clips(validation, classes, False), Clips(validation, classes, False, True)
    how = {"batch_size": batch_size, "num_workers": 1}
    train, val, test = (DataLoader(each, shuffle=each is sets[0], **how) for each in sets)
    model, criterion = create_from_spec(network, len(classes)), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-3)
    for _ in range(epochs):
        model.train()
        for clips, labels, _ in train:
            logits = model(clips)
            loss = criterion(logits, labels)
            loss.item(), (logits.argmax(1) == labels).float().mean().item()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        scores_of(model, val, len(validation), len(classes))
    scores, labels = scores_of(model, test, len(validation), len(classes))
    print(f"{100 * (scores.argmax(1) == labels).float().mean():.1f}")


@torch.no_grad()
def scores_of(model, loader, videos, classes):
    model.eval()
    scores, truth = torch.zeros(videos, classes), torch.zeros(videos, dtype=torch.long)
    for clips, labels, owners in loader:
        scores.index_add_(0, owners, model(clips).softmax(1))
        truth[owners] = labels
    return scores, truth


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
