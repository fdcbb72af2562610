"""What a golden file holds, and how it is written. The format is described in README.md."""

import json
from pathlib import Path

import numpy as np

TOP = 8
MIN_MARGIN = 1e-3
MIN_DISTINCT = 8
FORMAT = 1
# Longer arrays lie beside golden.json as raw little-endian f32.
MAX_INLINE = 512


def number(value) -> float:
    """Seven digits: more than f32 holds reliably, and the file stays small."""
    return float(f"{float(value):.7g}")


def step(logits) -> dict:
    """One step's record from logits [vocabulary]."""
    logits = np.asarray(logits, dtype=np.float32)
    top = np.argsort(-logits, kind="stable")[:TOP]
    return {
        "top_ids": [int(i) for i in top],
        "top_logits": [number(logits[i]) for i in top],
        "max_abs": number(np.abs(logits[np.isfinite(logits)]).max()),
    }


def margin(logits) -> float:
    """Distance of the best logit from the second best, over all steps: logits [steps, vocabulary]."""
    two = np.sort(np.asarray(logits, dtype=np.float32), axis=-1)[..., -2:]
    return float((two[..., 1] - two[..., 0]).min())


def array(values, directory: Path, name: str) -> dict:
    """An array of f32: inline when short, else in `golden/<name>.f32`."""
    values = np.ascontiguousarray(np.asarray(values, dtype="<f4"))
    if values.size <= MAX_INLINE:
        return {"shape": list(values.shape), "values": [number(v) for v in values.ravel()]}
    (directory / "golden").mkdir(exist_ok=True)
    (directory / "golden" / f"{name}.f32").write_bytes(values.tobytes())
    return {"shape": list(values.shape), "file": f"golden/{name}.f32"}


def read_array(record: dict, directory: Path) -> np.ndarray:
    if "file" in record:
        return np.fromfile(directory / record["file"], dtype="<f4").reshape(record["shape"])
    return np.array(record["values"], dtype=np.float32).reshape(record["shape"])


def write(directory: Path, family: str, kind: str, seed: int, runs: list, **more):
    head = {"format": FORMAT, "family": family, "kind": kind, "seed": seed, **more}
    lines = [f'  {json.dumps(key)}: {json.dumps(value)},' for key, value in head.items()]
    body = ",\n".join(_run(run) for run in runs)
    (directory / "golden.json").write_text("{\n" + "\n".join(lines) + '\n  "runs": [\n' + body + "\n  ]\n}\n")


def _run(run: dict) -> str:
    """One line per case, so that a diff shows which case changed."""
    head = ", ".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in run.items() if k != "cases")
    cases = ",\n".join("      " + json.dumps(case, ensure_ascii=False, separators=(",", ":")) for case in run["cases"])
    return "    {" + head + ', "cases": [\n' + cases + "\n    ]}"
