"""What pages say of the detector that judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ORIGINS = {
    "command line": "given on the command line",
    "validation": "fitted on the validation split in training",
    "default": "the default, since nothing was fitted",
}
LIBRARIES = ("deepfake", "torch", "timm", "facenet-pytorch", "av", "decord")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """threshold: prob from which a file is called fake; threshold_origin: where it comes from, in words.

    undetermined_margin: distance from the threshold within which there is no verdict. protocol: what the
    detector was trained on; empty if unknown. details: what else there is to say, by name, as it is shown.
    """

    checkpoint: str
    threshold: float
    threshold_origin: str
    undetermined_margin: float = 0.0
    protocol: str = ""
    details: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> ModelFacts:
        """From what predictions.json says before its files."""
        model, decision = header["model"], header["decision"]
        net, protocol = model["net"], model["protocol"] or {}
        origin, rule = decision["threshold_origin"], decision["threshold_rule"]
        spec = net["input"]
        versions = [f"{name} {header['environment'][name]}" for name in LIBRARIES]
        details = {
            "SHA-256 of the file": model["sha256"],
            "fingerprint of the network": model["fingerprint"],
            "network": " and ".join(
                net[part]["_target_"].rpartition(".")[2] for part in ("backbone", "head")
            ),
            "sees": f"windows of {spec['window']} frame{'s' if spec['window'] > 1 else ''}, "
            f"{spec['size']} × {spec['size']} px, {spec['margin']:g} times the face",
            "protocol": f"{protocol['name']}, hash {protocol['hash']}" if protocol else "",
            "fingerprint of the preprocessing": header["preprocessing"]["fingerprint"],
            "person's prob": f"from the windows' by {decision['window_rule']}",
            "file's prob": f"from the people's by {decision['track_rule']}",
            "temperature": f"{decision['temperature']:.3g}" if decision["calibrate"] else "",
            "versions": ", ".join([f"python {header['environment']['python']}", *versions]),
            "commit": header["environment"]["commit"],
        }
        return cls(
            checkpoint=model["path"],
            threshold=decision["threshold"],
            threshold_origin=ORIGINS.get(origin, origin) + (f" (rule {rule})" if rule else ""),
            undetermined_margin=decision["undetermined_margin"],
            protocol=protocol.get("name") or "",
            details={name: text for name, text in details.items() if text},
        )
