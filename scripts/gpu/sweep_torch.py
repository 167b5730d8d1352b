#!/usr/bin/env python3
"""Times SparseGPT's column loop in plain PyTorch, the peer of `obsdiff bench kernels --only sweep`.

Weights 3072 x 3072 in f32, blocks of 128 columns, 50 % unstructured and 2:4; the factor of the inverse Hessian is
given, as it is to the kernel. Every run is timed by CUDA events, and the median is taken. Prints one JSON object whose
cases have the names of obsdiff's.
"""

import argparse
import json
import statistics
import sys

import torch

SIZE = 3072
BLOCK = 128


def inverse_factor(size, device):
    """The upper Cholesky factor of (H + damping)^-1 for the Hessian of obsdiff's benchmark."""
    lower = torch.diag(torch.full((size,), 1.0)) + torch.diag(torch.full((size - 1,), 0.3), -1)
    hessian = torch.tril(lower) + torch.tril(lower, -1).T
    hessian += 0.01 * hessian.diagonal().mean() * torch.eye(size)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian.double()))
    return torch.linalg.cholesky(inverse, upper=True).float().to(device)


def sweep(weight, factor, two_of_four):
    """Prunes `weight` [rows, columns] in place: SparseGPT, Algorithm 1, whose errors go right within the block by
    column and beyond it by block."""
    columns = weight.shape[1]
    for start in range(0, columns, BLOCK):
        end = min(start + BLOCK, columns)
        block = weight[:, start:end].clone()
        inverse = factor[start:end, start:end]
        errors = torch.zeros_like(block)
        diagonal = inverse.diagonal()
        if two_of_four:
            mask = torch.zeros_like(block, dtype=torch.bool)
        else:
            scores = block**2 / diagonal**2
            threshold = scores.flatten().sort().values[scores.numel() // 2]
            mask = scores <= threshold
        for i in range(end - start):
            if two_of_four and i % 4 == 0:
                scores = block[:, i : i + 4] ** 2 / diagonal[i : i + 4] ** 2
                mask.scatter_(1, i + scores.topk(2, dim=1, largest=False).indices, True)
            column = block[:, i]
            kept = column.masked_fill(mask[:, i], 0.0).bfloat16().float()
            error = (column - kept) / diagonal[i]
            weight[:, start + i] = kept
            block[:, i:] -= error.unsqueeze(1) * inverse[i, i:].unsqueeze(0)
            errors[:, i] = error
        weight[:, end:] -= errors @ factor[start:end, end:]


def check(weight, two_of_four):
    """Ends the program if the result is not as sparse as asked, so that no time of something else is reported."""
    zeros = (weight == 0).float()
    share = zeros.mean().item()
    wrong = abs(share - 0.5) > 1e-3 or not torch.isfinite(weight).all()
    if two_of_four:
        wrong = wrong or (zeros.reshape(-1, 4).sum(1) < 2).any().item()
    if wrong:
        sys.exit(f"the sweep left {share:.4f} zeros or values that are not finite")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=7, help="runs whose median is taken")
    parser.add_argument("--size", type=int, default=SIZE, help="rows and columns")
    parser.add_argument("--device", default="cuda", help="cuda, or cpu to try the loop without times")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        sys.exit("PyTorch shows no GPU")
    # A tf32 product would not be the f32 sweep that the kernel does.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.manual_seed(0)
    size = arguments.size
    factor = inverse_factor(size, arguments.device)
    dense = torch.rand(size, size, device=arguments.device) * 2 - 1
    cases = []
    for name, two_of_four in (("50 %", False), ("2:4", True)):
        weight = dense.clone()
        sweep(weight, factor, two_of_four)
        check(weight, two_of_four)
        if arguments.device != "cuda":
            continue
        seconds = []
        for _ in range(arguments.runs):
            weight.copy_(dense)
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            sweep(weight, factor, two_of_four)
            end.record()
            end.synchronize()
            seconds.append(start.elapsed_time(end) / 1e3)
        case = {"kernel": "sweep", "case": f"f32 [{size}, {size}], {name}", "seconds": statistics.median(seconds)}
        cases.append(case | {"runs": len(seconds)})
    gpu = torch.cuda.get_device_name() if arguments.device == "cuda" else None
    print(json.dumps({"schema": "obsdiff.sweep-torch/1", "torch": torch.__version__, "gpu": gpu, "cases": cases}))


if __name__ == "__main__":
    main()
