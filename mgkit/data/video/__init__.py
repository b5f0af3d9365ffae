"""Video files: probe, read exact frames, stream them, write.

Frames are counted in presentation order from 0 and are upright where the file asks for a rotation, whatever its
container, codec, key-frames or frame rate. Any fault of a file is one `MgkitError` that names it.
"""

from mgkit.data.video.decode import Frames, VideoInfo, is_video, probe, read_frames, stream_frames
from mgkit.data.video.encode import write_video

__all__ = ["Frames", "VideoInfo", "is_video", "probe", "read_frames", "stream_frames", "write_video"]
