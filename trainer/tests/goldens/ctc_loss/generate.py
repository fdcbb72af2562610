"""CTC losses and gradients for trainer/tests/ctc_loss.rs, by torch.nn.functional.ctc_loss.

    pip install torch
    python generate.py

writes cases.json: logits, lengths and targets of several batches, the loss of each row (reduction "none", blank 0)
and the gradient of their sum with respect to the logits, through log_softmax, in float64.

Where torch is absent, the same numbers come from the recursions of Graves et al. (2006) in float64 below; the file says
by which of the two it was made, and with torch both are compared.
"""

import json
import math
import pathlib

import numpy as np


def log_add(*terms):
    top = max(terms)
    return top if top == -math.inf else top + math.log(sum(math.exp(t - top) for t in terms))


def by_recursion(logits, length, target):
    """Loss of one row and its gradient with respect to logits [frames, units]."""
    frames, units = logits.shape
    shifted = logits - logits.max(axis=1, keepdims=True)
    logp = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    path = [0]
    for unit in target:
        path += [unit, 0]
    states = len(path)
    skips = [s >= 2 and path[s] != 0 and path[s] != path[s - 2] for s in range(states)]
    alpha = np.full((length, states), -math.inf)
    beta = np.full((length, states), -math.inf)
    alpha[0, 0] = logp[0, 0]
    if states > 1:
        alpha[0, 1] = logp[0, path[1]]
    for t in range(1, length):
        for s in range(states):
            terms = [alpha[t - 1, s]]
            if s >= 1:
                terms.append(alpha[t - 1, s - 1])
            if skips[s]:
                terms.append(alpha[t - 1, s - 2])
            alpha[t, s] = log_add(*terms) + logp[t, path[s]]
    beta[length - 1, states - 1] = 0.0
    if states > 1:
        beta[length - 1, states - 2] = 0.0
    for t in range(length - 2, -1, -1):
        for s in range(states):
            terms = [beta[t + 1, s] + logp[t + 1, path[s]]]
            if s + 1 < states:
                terms.append(beta[t + 1, s + 1] + logp[t + 1, path[s + 1]])
            if s + 2 < states and skips[s + 2]:
                terms.append(beta[t + 1, s + 2] + logp[t + 1, path[s + 2]])
            beta[t, s] = log_add(*terms)
    total = log_add(alpha[length - 1, states - 1], alpha[length - 1, states - 2] if states > 1 else -math.inf)
    gradient = np.zeros_like(logits)
    for t in range(length):
        gradient[t] = np.exp(logp[t])
        for s in range(states):
            gradient[t, path[s]] -= math.exp(alpha[t, s] + beta[t, s] - total)
    return -total, gradient


def make(seed, frames, units, lengths, targets, scale):
    logits = np.random.default_rng(seed).normal(size=(len(lengths), frames, units)) * scale
    # What is stored is what is computed with.
    logits = logits.astype(np.float32).round(4).astype(np.float64)
    rows = [by_recursion(logits[b], lengths[b], targets[b]) for b in range(len(lengths))]
    case = {
        "frames": frames,
        "units": units,
        "lengths": lengths,
        "targets": targets,
        "logits": [float(v) for v in logits.ravel()],
        "losses": [float(loss) for loss, _ in rows],
        "gradient": [float(f"{v:.7g}") for _, gradient in rows for v in gradient.ravel()],
    }
    try:
        import torch
    except ImportError:
        return case, "float64 recursions (Graves et al. 2006)"
    x = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    losses = torch.nn.functional.ctc_loss(
        torch.log_softmax(x, 2).transpose(0, 1),
        torch.tensor([u for t in targets for u in t], dtype=torch.long),
        torch.tensor(lengths),
        torch.tensor([len(t) for t in targets]),
        reduction="none",
    )
    losses.sum().backward()
    assert np.allclose(losses.detach().numpy(), case["losses"], rtol=1e-9, atol=1e-9)
    assert np.allclose(x.grad.numpy().ravel(), case["gradient"], rtol=1e-5, atol=1e-7)
    case["losses"] = [float(v) for v in losses.detach()]
    case["gradient"] = [float(f"{float(v):.7g}") for v in x.grad.numpy().ravel()]
    return case, f"torch {torch.__version__}"


def main():
    made = [
        make(1, 6, 4, [6, 5], [[1, 2], [3]], 1.0),
        # equal neighbours, a row that just fits, and one without a target
        make(2, 9, 5, [9, 7, 9], [[1, 1, 2, 2], [3, 3, 3, 3], []], 2.0),
        # as in training: 29 characters, tens of frames, peaked
        make(3, 40, 29, [40, 31, 22], [[5, 9, 9, 1, 12, 20, 3], [2, 1, 28, 28, 4], [7]], 4.0),
    ]
    cases, by = [case for case, _ in made], made[0][1]
    here = pathlib.Path(__file__).parent
    (here / "cases.json").write_text(json.dumps({"by": by, "cases": cases}, separators=(",", ":")) + "\n")
    print(by, [len(c["lengths"]) for c in cases])


if __name__ == "__main__":
    main()
