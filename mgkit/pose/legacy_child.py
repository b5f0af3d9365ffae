"""MediaPipe 0.10.21 in an environment of its own: frames come in by stdin, points go out by stdout.

Run by `mgkit.pose.legacy` as a file, with a Python that has neither mgkit nor numpy 2. A message is a line of JSON:
with `shape` (T, H, W, 3), followed by the frames, it is answered by T x 75 x 3 float32; with `reset` another video
begins.
"""

import json
import os
import signal
import sys

import numpy as np


def main() -> None:
    """Answer until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to handle: it closes stdin
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    import mediapipe

    def begin():  # type: ignore[no-untyped-def]
        # With its default, smooth_landmarks=True, half of a motion of 3 pixels at 3 Hz is left.
        return mediapipe.solutions.holistic.Holistic(smooth_landmarks=False)

    holistic = begin()
    for line in iter(sys.stdin.buffer.readline, b""):
        message = json.loads(line)
        if message.get("reset"):
            holistic.close()
            holistic = begin()
            continue
        shape = message["shape"]
        size = shape[1] * shape[2] * shape[3]
        points = np.full((shape[0], 75, 3), np.nan, np.float32)
        for row in points:
            frame = np.frombuffer(sys.stdin.buffer.read(size), np.uint8).reshape(shape[1:])
            found = holistic.process(frame)
            parts = (found.pose_landmarks, found.left_hand_landmarks, found.right_hand_landmarks)
            for first, part in zip((0, 33, 54), parts):  # noqa: B905
                if part:
                    values = [
                        (p.x * shape[2], p.y * shape[1], 1.0 if first else p.visibility)
                        for p in part.landmark
                    ]
                    row[first : first + len(values)] = values
        answers.write(points.tobytes())
        answers.flush()
    holistic.close()


if __name__ == "__main__":
    main()
