"""One process of a group that evaluates together, as the harness does it on several GPUs.

The harness splits documents over processes only where it finds several GPUs; on CPUs every process would take
all of them. The group, the split of documents, the gathering of results and our tasks are the real ones; only
the rank and the size of the group are told to the model here.

    python -m torch.distributed.run --nproc_per_node 2 distributed_run.py MODEL TASK,TASK METADATA OUTPUT
"""

import json
import sys
from pathlib import Path

import torch.distributed as dist
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from l2m_eval.harness.registration import tasks_folder


def measured_together(model, tasks, metadata):
    """What the main process has of every task in the end; None on the others."""
    lm = HFLM(pretrained=model, dtype="float32", device="cpu", batch_size=4)
    if hasattr(lm, "accelerator"):
        lm._rank, lm._world_size = lm.accelerator.process_index, lm.accelerator.num_processes
        assert dist.get_backend() == "gloo"
    results = simple_evaluate(
        model=lm,
        tasks=tasks,
        task_manager=TaskManager(include_path=str(tasks_folder()), include_defaults=False, metadata=metadata),
        metadata=metadata,
        bootstrap_iters=0,
    )
    assert (results is None) == (lm.rank > 0)
    if results is None:
        return None
    found = {
        task: {
            "processes": lm.world_size,
            "metrics": results["results"][task],
            "block": results["configs"][task]["l2m"],
            # In the order of the documents: they are gathered process by process.
            "samples": sorted(results["samples"][task], key=lambda sample: sample["doc_id"]),
        }
        for task in tasks
    }
    return json.loads(json.dumps(found, default=str))


if __name__ == "__main__":
    model, tasks, metadata, output = sys.argv[1:]
    found = measured_together(model, tasks.split(","), json.loads(metadata))
    if found is not None:
        Path(output).write_text(json.dumps(found))
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
