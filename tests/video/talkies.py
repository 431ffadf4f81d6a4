"""Small films with a tone, whose frames carry their own number."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from films import picture

TONE_HZ = 440.0


def tone(rate: int, seconds: float) -> np.ndarray:
    """A sine, (1, samples) float32."""
    return 0.5 * np.sin(2 * np.pi * TONE_HZ * np.arange(round(rate * seconds)) / rate)[None].astype(
        np.float32
    )


def talkie(
    path: Path,
    *,
    times_ms: Sequence[int],
    video: str = "libx264",
    audio: str = "aac",
    rate: int = 48_000,
    seconds: float = 1.0,
    rotation_deg: int = 0,
) -> Path:
    """Write a film with a time in ms for each frame and a tone from 0 on."""
    base = Fraction(1, 1000)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(video, rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 128, "yuv420p"
        stream.codec_context.time_base = base
        if rotation_deg:
            stream.set_display_rotation(rotation_deg)
        sound = container.add_stream(audio, rate=rate, layout="mono")
        for index, time_ms in enumerate(times_ms):
            frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
            frame.pts, frame.time_base = time_ms, base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        whole = av.AudioFrame.from_ndarray(tone(rate, seconds), format="flt", layout="mono")
        whole.sample_rate, whole.pts, whole.time_base = rate, 0, Fraction(1, rate)
        resampler = av.AudioResampler(sound.format, "mono", rate, frame_size=sound.frame_size or 1024)
        for piece in (*resampler.resample(whole), *resampler.resample(None)):
            container.mux(sound.encode(piece))
        container.mux(sound.encode())
    return path


def audio_packets(path: Path) -> list[tuple[float, bytes]]:
    """Time in seconds and content of each packet of a file's audio; none without audio."""
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return []
        stream = container.streams.audio[0]
        base = float(stream.time_base or 1)
        return [(packet.pts * base, bytes(packet)) for packet in container.demux(stream) if packet.size]


def heard(path: Path) -> tuple[str, np.ndarray, int]:
    """Codec, samples (N,) of the first channel and rate of a file's audio."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        pieces = [frame.to_ndarray() for frame in container.decode(stream)]
        return stream.codec_context.name, np.concatenate([piece[0] for piece in pieces]), stream.rate


def pitch_hz(samples: np.ndarray, rate: int) -> float:
    """The strongest frequency."""
    return float(np.argmax(np.abs(np.fft.rfft(samples))[1:]) + 1) * rate / len(samples)
