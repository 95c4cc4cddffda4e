"""The words of parameters that are about data, each written once; `params` makes its choices of them.

Importing this costs nothing: no numpy, no torch.
"""

SUBSETS = ("training", "validation", "testing")
MODALITIES = ("rgb", "flow")
FLOW_STACK = 5  # consecutive pairs of optical flow that make one input of a network
CHANNELS = {"rgb": 3, "flow": 2 * FLOW_STACK}  # of the clips of each modality
VIDEO_BACKENDS = ("auto", "pyav", "decord")  # auto is PyAV: exact in every file, and faster
LABEL_SETS = {  # of the synthetic videos
    "motion": ("left", "right", "up", "down", "clockwise", "counterclockwise", "grow", "shrink"),
    "motion_finetune": ("bounce", "zigzag", "orbit", "shake"),
    "colour_and_motion": ("orange left", "orange right", "blue left", "blue right"),
}
FRAME_NAMES = ("image_00001.jpg", "00001.jpg")  # of the first frame in a folder of frames
STORAGES = ("original", "short_gop", "frames", "lmdb", "flow")

# Frames of a clip.
SAMPLINGS = ("random", "center", "begin", "dense", "segments", "segments_regular")
LOOPS = ("taken", "span")
PARTIAL_WINDOWS = ("keep", "drop")
# Pixels of a clip.
CROPS = (
    "random_resized", "random", "center",
    "multi_scale_random", "multi_scale_corner", "multi_scale_center", "multi_scale_fixed",
)  # fmt: skip
NUM_CROPS = (1, 3, 5, 10)
POSITIONS = ("center", "top_left", "top_right", "bottom_left", "bottom_right")
# Clips of a video in an evaluation; the first three have a number of their own, the others `num_clips`.
ONE_CLIP = ("clip", "begin", "video")
PROTOCOLS = (*ONE_CLIP, "even", "views", "dense", "uniform")
AVERAGES = ("softmax", "logits")
ORDERS = ("forward", "reversed", "shuffled", "frozen")  # of the frames in a clip; frozen: one frame, repeated
