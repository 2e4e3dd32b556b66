#!/usr/bin/env bash
# Makes examples/released anew, runs of two released models:
#
#     make models && bash examples/make_released.sh models BOOKS
#
# BOOKS is a folder of .txt files. About an hour and a half on one core: 50 minutes for the contexts of SmolLM2 (606,000
# tokens), 20 for its curves (290,000), 14 for the contexts of Gemma (168,000), 7 for its curves (133,000). With
# --use_cache an interrupted run continues.
set -euo pipefail
examples=$(cd "$(dirname "$0")" && pwd)
models=$(cd "$1" && pwd)
books=$(cd "$2" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
ln -s "$books" books
for model in SmolLM2-135M-Instruct gemma-3-270m; do ln -s "$models/$model" "$model"; done

lm_eval run --model hf --model_args pretrained=SmolLM2-135M-Instruct,dtype=bfloat16 --device cpu --batch_size 8 \
  --tasks l2m_context_use_text --output_path out --log_samples --use_cache cache \
  --metadata '{"corpus": "books/*.txt", "documents": 32, "contexts": [16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 7936]}'
lm_eval run --model hf --model_args pretrained=SmolLM2-135M-Instruct,dtype=bfloat16 --device cpu --batch_size 8 \
  --tasks l2m_bipartite_text,l2m_position_nll_text --output_path out --log_samples --use_cache cache \
  --metadata '{"corpus": "books/*.txt", "documents": 16, "fit": "auto"}'
# The loss of the same chunks as Gemma's.
lm_eval run --model hf --model_args pretrained=SmolLM2-135M-Instruct,dtype=bfloat16 --device cpu --batch_size 8 \
  --tasks l2m_position_nll_text --output_path out --log_samples --use_cache cache \
  --metadata '{"corpus": "books/*.txt", "documents": 16, "length": 2048}'
lm_eval run --model hf --model_args pretrained=gemma-3-270m,dtype=bfloat16,max_length=4096 --device cpu --batch_size 4 \
  --tasks l2m_context_use_text --output_path out --log_samples --use_cache cache \
  --metadata '{"corpus": "books/*.txt", "documents": 16, "contexts": [16, 32, 64, 128, 256, 512, 1024, 2048, 3840]}'

lm_eval run --model hf --model_args pretrained=gemma-3-270m,dtype=bfloat16,max_length=4096 --device cpu --batch_size 4 \
  --tasks l2m_bipartite_text,l2m_position_nll_text --output_path out --log_samples --use_cache cache \
  --metadata '{"corpus": "books/*.txt", "documents": 16, "length": 2048, "estimators": ["direct"], "fit": "auto"}'

for model in SmolLM2-135M-Instruct,dtype=bfloat16 gemma-3-270m,dtype=bfloat16,max_length=4096; do
  lm_eval run --model hf --model_args pretrained=$model --device cpu --tasks l2m_two_point_text --output_path out \
    --metadata '{"corpus": "books/*.txt"}'
done

rm -rf "$examples/released"
python "$examples/strip_results.py" out "$examples/released"

# The check on those curves and the models' own states.
ln -s "$examples/released" released
lm_eval run --model hf --model_args pretrained=SmolLM2-135M-Instruct,dtype=bfloat16 --device cpu \
  --tasks l2m_condition_text --output_path checked/check \
  --metadata '{"results": "released/SmolLM2-135M-Instruct", "fit": "auto"}'
lm_eval run --model hf --model_args pretrained=gemma-3-270m,dtype=bfloat16,max_length=4096 --device cpu \
  --tasks l2m_condition_text --output_path checked/check \
  --metadata '{"results": "released/gemma-3-270m", "fit": "auto"}'
python "$examples/strip_results.py" checked "$examples/released"
