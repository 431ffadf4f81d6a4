"""Frames to faces: detections, tracks, crops, store; the same call serves extraction and prediction."""
