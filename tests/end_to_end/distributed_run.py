"""One process of a group that evaluates together, as the harness does it on several GPUs.

The harness splits documents over processes only where it finds several GPUs; on CPUs every process would take
all of them. The group, the split of documents, the gathering of results and our tasks are the real ones; only
the rank and the size of the group are told to the model here.

    python -m torch.distributed.run --nproc_per_node 2 distributed_run.py MODEL TASK METADATA OUTPUT
"""

import json
import sys
from pathlib import Path

import torch.distributed as dist
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

if __name__ == "__main__":
    model, task, metadata, output = sys.argv[1:]
    lm = HFLM(pretrained=model, dtype="float32", device="cpu", batch_size=4)
    if hasattr(lm, "accelerator"):
        lm._rank, lm._world_size = lm.accelerator.process_index, lm.accelerator.num_processes
        assert dist.get_backend() == "gloo"
    metadata = json.loads(metadata)
    results = simple_evaluate(
        model=lm,
        tasks=[task],
        task_manager=TaskManager(metadata=metadata),
        metadata=metadata,
        bootstrap_iters=0,
    )
    assert (results is None) == (lm.rank > 0)
    if results is not None:
        found = {
            "processes": lm.world_size,
            "metrics": results["results"][task],
            "block": results["configs"][task]["l2m"],
            "samples": [sample["doc_id"] for sample in results["samples"][task]],
        }
        Path(output).write_text(json.dumps(found, default=str))
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
