# SPDX-License-Identifier: Apache-2.0
"""A video that ffmpeg plays into chiral-serve arrives at a foreign client pixel for pixel.

The client is Python with websockets, msgpack and numpy, and speaks the protocol by its description only.
"""
import asyncio
import os
import struct
import subprocess
import tempfile
import unittest

import msgpack
import numpy
import websockets

import programs

WIDTH, HEIGHT, RATE, FRAMES = 160, 120, 25, 100


def ffmpeg(*arguments):
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", *arguments], check=True, timeout=programs.DEADLINE)


def frame(header):
    packed = msgpack.packb(header)
    return struct.pack("<I", len(packed)) + packed


def parse(message):
    (length,) = struct.unpack_from("<I", message)
    return msgpack.unpackb(message[4:4 + length]), message[4 + length:]


async def observe(uri, is_last):
    """Asks for observations as fast as they come until `is_last(cameras)`; returns {camera: [(sequence, image)]}."""
    seen = {}
    async with websockets.connect(uri, max_size=None, compression=None) as socket:
        while True:
            await socket.send(frame({"type": "obs_request"}))
            header, payload = parse(await asyncio.wait_for(socket.recv(), programs.DEADLINE))
            assert header["type"] == "obs_response", header["type"]
            cameras = {}
            for camera in header["cameras"]:
                offset, size = camera["image_offset"], camera["image_size"]
                image = numpy.frombuffer(payload[offset:offset + size], numpy.uint8).reshape(camera["image_shape"])
                cameras[camera["name"]] = (camera["sequence"], image)
                history = seen.setdefault(camera["name"], [])
                if not history or history[-1][0] != camera["sequence"] or not numpy.array_equal(history[-1][1], image):
                    history.append((camera["sequence"], image))
            if is_last(cameras):
                return seen
            await asyncio.sleep(0.002)


class FfmpegCameraTest(unittest.TestCase):
    def test_every_image_is_a_frame_of_the_clip_in_order(self):
        with tempfile.TemporaryDirectory(prefix="chiral-ffmpeg-") as folder:
            raw, encoded = os.path.join(folder, "clip.rgb"), os.path.join(folder, "clip.mkv")
            ffmpeg("-f", "lavfi", "-i", f"testsrc2=size={WIDTH}x{HEIGHT}:rate={RATE}", "-frames:v", str(FRAMES),
                   "-f", "rawvideo", "-pix_fmt", "rgb24", raw)
            source = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", f"{WIDTH}x{HEIGHT}", "-framerate", str(RATE),
                      "-i", raw)
            ffmpeg(*source, "-c:v", "ffv1", "-pix_fmt", "bgr0", encoded)
            clip = numpy.fromfile(raw, numpy.uint8).reshape(FRAMES, HEIGHT, WIDTH, 3)
            self.assertEqual(len({image.tobytes() for image in clip}), FRAMES, "frames can be told apart")

            play = "ffmpeg -nostdin -v error -re"
            out = "-f rawvideo -pix_fmt rgb24 -"
            with programs.serve(
                    "--camera", f"encoded,{WIDTH}x{HEIGHT},cmd:{play} -i {encoded} {out}",
                    "--camera", f"raw,{WIDTH}x{HEIGHT},cmd:{play} {' '.join(source)} {out}",
                    "--proprios", "0") as (server, uri):
                seen = asyncio.run(asyncio.wait_for(
                    observe(uri, lambda cameras: all(sequence == FRAMES for sequence, _ in cameras.values())),
                    programs.DEADLINE))
                for name in ("encoded", "raw"):
                    line = server.wait_line(f"camera '{name}': the command ended")
                    self.assertIn(f"(exit status 0) after {FRAMES} frames; its last frame stays", line)
                self.assertEqual(server.end(), 0, server.output)
            self.assertEqual(programs.processes_with(folder), [])

        self.assertEqual(set(seen), {"encoded", "raw"})
        for name, history in seen.items():
            sequences = [sequence for sequence, _ in history]
            self.assertEqual(sequences, sorted(set(sequences)), f"{name}: in order, and one image for each number")
            self.assertGreater(len(sequences), 10, f"{name}: it was watched while it played")
            for sequence, image in history:
                wanted = clip[sequence - 1] if sequence > 0 else numpy.zeros_like(clip[0])
                self.assertTrue(numpy.array_equal(image, wanted), f"{name}: image {sequence} is frame {sequence} of the clip")

    def test_jpeg_pictures_of_a_webcam_are_pixels_to_a_documented_client(self):
        with tempfile.TemporaryDirectory(prefix="chiral-ffmpeg-") as folder:
            pictures, raw = os.path.join(folder, "clip.mjpeg"), os.path.join(folder, "clip.rgb")
            ffmpeg("-f", "lavfi", "-i", f"testsrc2=size={WIDTH}x{HEIGHT}:rate={RATE}", "-frames:v", "20",
                   "-c:v", "mjpeg", "-q:v", "2", "-pix_fmt", "yuvj422p", pictures)
            ffmpeg("-i", pictures, "-f", "rawvideo", "-pix_fmt", "rgb24", raw)
            clip = numpy.fromfile(raw, numpy.uint8).reshape(20, HEIGHT, WIDTH, 3).astype(int)
            with programs.serve("--camera", f"uvc,{WIDTH}x{HEIGHT},mjpeg:ffmpeg -nostdin -v error -re -f mjpeg -framerate "
                                f"{RATE} -i {pictures} -c copy -f mjpeg -", "--proprios", "0") as (server, uri):
                seen = asyncio.run(asyncio.wait_for(
                    observe(uri, lambda cameras: all(sequence == 20 for sequence, _ in cameras.values())),
                    programs.DEADLINE))
                self.assertEqual(server.end(), 0, server.output)
        shown = [entry for entry in seen["uvc"] if entry[0] > 0]
        self.assertGreater(len(shown), 3)
        for sequence, image in shown:
            distances = [numpy.abs(image - each).mean() for each in clip]
            self.assertEqual(numpy.argmin(distances), sequence - 1, f"image {sequence} is picture {sequence}")
            self.assertLess(distances[sequence - 1], 4.0, "two decoders differ by little")  # of 255, on average


if __name__ == "__main__":
    unittest.main(verbosity=2)
