"""The one room that knows a video library: probe, read exact frames, stream them, write.

Frames are counted in presentation order from 0 and come upright when the file asks for a rotation, whatever its
container and codec, key-frames or frame rate. Whatever is wrong with a file is said in one `MgkitError`.
"""

from mgkit.data.video.decode import Frames, VideoInfo, probe, read_frames, stream_frames
from mgkit.data.video.encode import write_video

__all__ = ["Frames", "VideoInfo", "probe", "read_frames", "stream_frames", "write_video"]
