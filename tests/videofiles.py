"""Writers of small real videos, sound and broken, for the tests. Every frame carries its own number in its pixels."""

import re
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

EMPTY_PICTURE = b"\x00\x00\x01\xb6" + bytes([0b01010000, 0b01011111])  # MPEG-4, P, time 0, vop_coded = 0
BITS = 8  # a frame's number is drawn as so many black or white blocks along the top


def frame_image(number: int, width: int = 160, height: int = 128) -> np.ndarray:
    """The picture of frame `number`: uint8 (H, W, 3) RGB, a moving gradient under blocks that spell the number."""
    y, x = np.mgrid[0:height, 0:width]
    image = np.stack([(x * 2 + number * 3) % 256, (y * 2 + number * 5) % 256, (x + y) % 256], axis=-1).astype(np.uint8)
    block = width // BITS
    for bit in range(BITS):
        image[:16, bit * block : (bit + 1) * block] = 255 if number >> bit & 1 else 0
    return image


def frame_number(image: np.ndarray) -> int:
    """The number drawn by `frame_image`, read back from a decoded frame (H, W, 3)."""
    block = image.shape[1] // BITS
    return sum(1 << bit for bit in range(BITS) if image[4, bit * block + block // 2].mean() > 127)


def write_video(
    path,
    num_frames: int = 32,
    width: int = 160,
    height: int = 128,
    *,
    fps: int = 30,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    gop: int = 16,
    bframes: int = 2,
    start: int = 0,
    step=lambda number: 1,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    audio: bool = False,
    noise: int = 0,
) -> Path:
    """Write frames 0..num_frames-1; `start` and `step(number)` are presentation times in units of 1/fps. `noise`: up to
    so many grey levels, for files that are as hard to decode as a camera's."""
    path, rng = Path(path), np.random.default_rng(0)
    if codec == "libx264":
        options = {"sc_threshold": "0", "preset": "veryfast", "crf": "18"} | (options or {})
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=fps, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.gop_size, stream.max_b_frames = gop, bframes
        stream.codec_context.thread_count = 1
        sound = container.add_stream("aac", rate=16000) if audio else None
        time = start
        for number in range(num_frames):
            image = frame_image(number, width, height)
            if noise:
                image = np.clip(image + rng.integers(-noise, noise + 1, image.shape), 0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, fps)
            container.mux(stream.encode(frame))
            time += step(number)
        container.mux(stream.encode())
        if sound:
            _write_silence(container, sound)
    return path


def write_audio_only(path) -> Path:
    with av.open(str(path), "w") as container:
        _write_silence(container, container.add_stream("aac", rate=16000))
    return Path(path)


def _write_silence(container, stream, num_blocks: int = 16):
    for block in range(num_blocks):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16000, block * 1024
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def truncate(source, path, fraction: float) -> Path:
    """The first `fraction` of the file's bytes, as an interrupted download leaves them."""
    data = Path(source).read_bytes()
    Path(path).write_bytes(data[: int(len(data) * fraction)])
    return Path(path)


def rotate(path, degrees: int) -> Path:
    """Give an mp4 file, in place, a display matrix that turns its picture clockwise by 90, 180 or 270 degrees."""
    a, b, c, d = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[degrees]
    one = 1 << 16
    matrix = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    data = bytearray(Path(path).read_bytes())
    # Track header, version 0: the matrix follows 40 bytes of flags, times, ids, duration, layer and volume.
    at = data.index(b"tkhd") + 4 + 40
    data[at : at + len(matrix)] = matrix
    Path(path).write_bytes(data)
    return Path(path)


def write_packed(path, num_frames: int = 32) -> Path:
    """An AVI as DivX wrote it: each B picture shares a packet with the picture after it, and an empty one follows."""
    fps = 30
    encoder = av.CodecContext.create("mpeg4", "w")
    encoder.width, encoder.height, encoder.pix_fmt = 160, 128, "yuv420p"
    encoder.time_base, encoder.framerate, encoder.gop_size, encoder.max_b_frames = Fraction(1, fps), fps, 12, 1
    packets = []
    for number in range(num_frames):
        frame = av.VideoFrame.from_ndarray(frame_image(number), format="rgb24")
        frame.pts, frame.time_base = number, Fraction(1, fps)
        packets += encoder.encode(frame)
    chunks: list[bytes] = []
    for packet in packets + encoder.encode(None):
        if packet.pts < packet.dts + 1 and chunks:  # a B picture: shown as soon as it is decoded
            chunks[-1] += bytes(packet)
            chunks.append(EMPTY_PICTURE)
        else:
            chunks.append(bytes(packet))
    # By these words decoders know what they have; they are as long as the encoder's own.
    chunks = [re.sub(rb"Lavc\d\d\.\d\d\.\d\d\d", b"DivX503b1393p", chunk) for chunk in chunks]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 160, 128, "yuv420p"
        for number, chunk in enumerate(chunks):
            packet = av.Packet(chunk)
            packet.stream, packet.time_base, packet.pts, packet.dts = stream, Fraction(1, fps), number, number
            packet.is_keyframe = not number or b"\x00\x00\x01\xb6" in chunk and _is_intra(chunk)
            container.mux(packet)
    return Path(path)


def _is_intra(chunk: bytes) -> bool:
    """Whether the first MPEG-4 picture of a packet is an I picture: the two bits after its start code are 0."""
    return chunk[chunk.index(b"\x00\x00\x01\xb6") + 4] >> 6 == 0


def lie(path, num_frames: int) -> Path:
    """Make the two headers of an AVI file, in place, promise `num_frames` frames."""
    data = bytearray(Path(path).read_bytes())
    for header, offset in ((b"avih", 16), (b"strh", 32)):
        at = data.index(header) + 8 + offset
        data[at : at + 4] = struct.pack("<I", num_frames)
    Path(path).write_bytes(data)
    return Path(path)


def write_missing_frames(path, num_frames: int = 20, num_missing: int = 200) -> Path:
    """MPEG-4 whose last `num_missing` packets are "not coded" pictures: counted by the container, shown by no decoder.

    decord spins forever on a jump over more than 128 of them.
    """
    fps = 30
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 160, 128, "yuv420p"
        stream.codec_context.gop_size = 12
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(frame_image(number), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        for number in range(num_frames, num_frames + num_missing):
            packet = av.Packet(EMPTY_PICTURE)
            packet.stream, packet.time_base = stream, Fraction(1, fps)
            packet.pts = packet.dts = number
            packet.duration = 1
            container.mux(packet)
    return Path(path)


def write_long_video(path, num_frames: int, width: int, height: int, *, fps: int = 25, second: int = 100) -> Path:
    """H.264 of `num_frames` frames, any number of them, in little time: `second` frames are encoded, the rest are their
    packets again and again, each time beginning with a key frame."""
    path = Path(path)
    source = write_video(
        path.with_name(f"part-{path.name}"),
        second,
        width,
        height,
        fps=fps,
        gop=second // 2,
        options={"preset": "ultrafast", "crf": "45"},
    )
    with av.open(str(source)) as part, av.open(str(path), "w") as container:
        stream = part.streams.video[0]
        target = container.add_stream_from_template(stream)
        packets = [packet for packet in part.demux(stream) if packet.size]
        length = sum(packet.duration for packet in packets)
        for number in range(num_frames):
            round_, place = divmod(number, second)
            packet = av.Packet(bytes(packets[place]))
            packet.pts, packet.dts = (each + round_ * length for each in (packets[place].pts, packets[place].dts))
            packet.duration, packet.is_keyframe = packets[place].duration, packets[place].is_keyframe
            packet.stream, packet.time_base = target, stream.time_base
            container.mux(packet)
    source.unlink()
    return path
