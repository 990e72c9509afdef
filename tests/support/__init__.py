"""What several test modules import: helpers that are no fixtures."""

import pytest

# Before they are imported: their asserts, too, say what they compared.
pytest.register_assert_rewrite("support.kv_contract", "support.lm_eval_itself")
