from benchmarks.store import windows_by_track
from deepfake.faces.settings import FaceSettings
from deepfake.faces.video_faces import VideoFaces, to_table
from deepfake.records import VideoInfo

INFO = VideoInfo(num_frames=99, fps=25, width=9, height=9, rotation_deg=0, codec="h264", container="mov")


def test_windows_are_runs_of_adjacent_rows_and_short_tracks_have_none() -> None:
    places = [
        (0, 0, 0),
        (0, 0, 1),
        (0, 0, 2),
        (0, 0, 3),
        (0, 1, 0),
        (0, 1, 1),
        (1, 0, 0),
        (1, 0, 2),
        (1, 0, 3),
    ]
    rows = [{"track": t, "clip": c, "step": s, "frame": 10 * c + s} for t, c, s in places]
    faces = VideoFaces(to_table(rows), INFO, FaceSettings(), ())
    assert windows_by_track(faces, 3) == [[(0, 1, 2), (1, 2, 3)]]
    assert windows_by_track(faces, 2) == [[(0, 1), (1, 2), (2, 3), (4, 5)], [(7, 8)]]
