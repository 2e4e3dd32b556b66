"""Properties of settings, arguments, declared states and configurations, from values that hypothesis draws."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st
from one_line import numbers, scalars, valid_or_one_line, values

from l2m_eval.harness.oracle import OracleLM
from l2m_eval.history_state import history_state_size, state_growth
from l2m_eval.history_state.state import HistoryState
from l2m_eval.processes import PROCESSES
from l2m_eval.settings import TASK_KINDS, TaskKind, read_settings

_SETTING_NAMES = sorted(
    {name for kind in TASK_KINDS for name in kind.settings.__dataclass_fields__}
    | {name for kind in PROCESSES.values() for name in kind.__dataclass_fields__}
)
_WORDS = ["process", "pg19", "hub:", "hub:a/b", "text", "none", "auto", "vclub", "direct", "ngram", "true", "1,2", "",
          *PROCESSES]  # fmt: skip
setting_values = (
    values | st.sampled_from(_WORDS) | st.lists(st.sampled_from(_WORDS) | st.integers(1, 99), max_size=3)
)


@given(
    st.sampled_from(TASK_KINDS),
    st.dictionaries(
        st.sampled_from([*_SETTING_NAMES, "document", "x\ny"]) | st.text(max_size=9), setting_values
    ),
)
def settings_of_a_task(kind: TaskKind, metadata: dict[str, Any]) -> None:
    with valid_or_one_line():
        read = read_settings(kind.settings, metadata)
        assert 1 <= read.longest <= 2**26
        assert read.documents >= 1


@given(
    st.sampled_from([*PROCESSES, "santa_fee"]),
    st.dictionaries(st.sampled_from(_SETTING_NAMES) | st.text(max_size=9), setting_values, max_size=4),
    st.booleans(),
)
def arguments_of_the_oracle(process: str, arguments: dict[str, Any], known_only: bool) -> None:
    if known_only and process in PROCESSES:
        known = set(PROCESSES[process].__dataclass_fields__) | {"seed", "max_length"}
        arguments = {key: value for key, value in arguments.items() if key in known}
    arguments.pop("process", None)
    with valid_or_one_line():
        lm = OracleLM(process=process, **arguments)
        assert lm.process.vocabulary_size >= 1
        assert lm.tok_encode(lm.tok_decode([0])) == [0]


_formulas = st.sampled_from(
    ["L", "2*n*L", "64*min(L, 4096)", "n**L", "L/(L-4)", "log(L)*n", "floor(L)", "9**9**9", "L if n else 1"]
)


@given(
    st.dictionaries(
        st.sampled_from(["formula", "table", "constant", "bits", "name", "n", "layers"])
        | st.text(max_size=5),
        values
        | _formulas
        | st.dictionaries(st.integers(-1, 99) | st.text("0123456789", max_size=3), numbers),
        max_size=4,
    )
    | _formulas.map(lambda formula: {"formula": formula, "n": 3})
    | st.tuples(_formulas, numbers).map(lambda pair: {"formula": pair[0], "n": pair[1]}),
    st.lists(st.integers(-1, 2**41) | values, max_size=3),
)
def statement_of_a_state(statement: dict[Any, Any], lengths: list[Any]) -> None:
    assume("model_type" not in statement)
    with valid_or_one_line():
        state = history_state_size(statement, lengths)
        assert (state.elements >= 0).all()
        assert (state.bits >= 0).all()
        state_growth(state)
        again = HistoryState.from_json(json.loads(json.dumps(state.to_json())))
        assert (again.elements == state.elements).all()


_MODEL_TYPES = [
    "llama",
    "mamba",
    "mamba2",
    "gpt2",
    "mistral",
    "gemma3_text",
    "deepseek_v3",
    "jamba",
    "qwen3",
    "t5",
    "no_such",
]
_SMALL = {"num_hidden_layers": 1, "hidden_size": 8, "intermediate_size": 8, "vocab_size": 16,
          "num_attention_heads": 2, "num_key_value_heads": 1, "n_layer": 1, "n_embd": 8, "n_head": 2}  # fmt: skip
_CONFIG_NAMES = [*_SMALL, "head_dim", "sliding_window", "max_position_embeddings", "state_size", "expand",
                 "conv_kernel", "layer_types", "rope_theta", "rope_scaling", "torch_dtype", "dtype", "use_cache",
                 "architectures", "quantization_config", "auto_map", "is_encoder_decoder", "num_experts",
                 "kv_lora_rank", "pad_token_id", "attn_implementation", "hidden_act",
                 "tie_word_embeddings"]  # fmt: skip


@given(
    st.sampled_from(_MODEL_TYPES),
    st.dictionaries(
        st.sampled_from(_CONFIG_NAMES),
        # a size in the thousands is honest, only slow to build
        st.integers(-2, 64) | st.floats(-2, 64) | st.booleans() | st.none() | st.text(max_size=6)
        | st.sampled_from(["full_attention", "sliding_attention", "bfloat16", "float99", "silu"])
        | st.lists(st.sampled_from(["full_attention", "sliding_attention", "mamba", 3]), max_size=3)
        | st.dictionaries(st.text(max_size=6), scalars, max_size=2),
        max_size=3,
    ),
)  # fmt: skip
def configuration_of_a_model(model_type: str, changes: dict[str, Any]) -> None:
    with valid_or_one_line():
        state = history_state_size({"model_type": model_type, **_SMALL, **changes}, [4, 16])
        assert (state.total >= 0).all()
