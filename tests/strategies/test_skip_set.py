"""Skip sets as people write them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsbench_strategies.skip_set import parse_items

Refusal = Callable[..., str]


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "set.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


class TestItems:
    def test_layers_and_sublayers_count_from_one(self) -> None:
        assert parse_items([1, "2.attention", "3.mlp", "4"], "sublayer") == ((0, 1), (2,), (5,), (6, 7))

    @given(st.permutations(range(12)))
    def test_order_is_kept(self, order: list[int]) -> None:
        items = [f"{index // 2 + 1}.{('attention', 'mlp')[index % 2]}" for index in order]
        assert parse_items(items, "sublayer") == tuple((index,) for index in order)

    @pytest.mark.parametrize(
        ("items", "says"),
        [
            ([0], "0 is neither a layer (12) nor a sub-layer (12.attention, 12.mlp)"),
            ([-1], "-1 is neither"),
            (["3.mpl"], "3.mpl is neither"),
            (["mlp.3"], "mlp.3 is neither"),
            (["３"], "is neither"),
            ([""], "is neither"),
            ([3, 3], "3 is left out twice"),
            ([3, "3.mlp"], "3.mlp is left out twice"),
            (["3.mlp", "3.attention", 3], "3 is left out twice"),
        ],
    )
    def test_others_are_refused(self, items: list[int | str], says: str) -> None:
        with pytest.raises(ValueError, match=r"^[^\n]*$") as caught:
            parse_items(items, "sublayer")
        assert says in str(caught.value)

    def test_a_sublayer_is_refused_where_only_layers_are_left_out(self) -> None:
        assert parse_items([3], "layer") == ((4, 5),)
        with pytest.raises(ValueError, match="granularity=layer"):
            parse_items(["3.mlp"], "layer")


class TestFile:
    def test_yaml_and_json_are_read(self, tmp_path: Path, bench) -> None:
        for content in (
            "num_layers: 6\nskipped: [3.mlp, 5]\n",
            '{"num_layers": 6, "skipped": ["3.mlp", 5]}',
            "num_layers: 6\nskipped:\n- 3.mlp\n- 5\n",
        ):
            strategy = bench.make(f"dynamic_skip:skip_set={write(tmp_path, content)}")
            assert strategy.ladder.rungs[-1] == {5, 8, 9}

    def test_home_is_found(self, tmp_path: Path, bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        write(tmp_path, "num_layers: 6\nskipped: [5]\n")
        assert bench.make("dynamic_skip:skip_set=~/set.yaml").ladder.rungs[-1] == {8, 9}

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            ("num_layers: 30\nskipped: [5]", "was found on a model of 30 layers, but this one has 6"),
            ("num_layers: 6\nskipped: [7]", "names layer 7, but the model has 1..6"),
            ("num_layers: 6\nskipped: []", "leaves nothing out"),
            ("num_layers: 6\nskipped: [3, 3]", "3 is left out twice"),
            ("num_layers: 6\nskipped: [3.5]", "skipped is 3.5"),
            ("num_layers: 6\nskipped: [true]", "skipped is True"),
            ("num_layers: 6\nskipped: 5", "skipped is 5"),
            ("num_layers: six\nskipped: [5]", "num_layers is 'six'"),
            ("num_layers: 6.0\nskipped: [5]", "num_layers is 6.0"),
            ("num_layers: true\nskipped: [5]", "num_layers is True"),
            ("num_layers: 2020-13-45\nskipped: [5]", "neither YAML nor JSON"),
            ("skipped: [5]", "num_layers is missing"),
            ("num_layers: 6", "skipped is missing"),
            ("num_layers: 6\nskipped: [5]\nlayers: 3", "'layers' is no key of it"),
            ("- 5", "its content is [5]"),
            ("", "its content is None"),
            ("x" * 5000, "its content is 'xxx"),
            ("num_layers: [", "neither YAML nor JSON"),
            ("!!python/object:os.system {}", "neither YAML nor JSON"),
            ("[" * 600, "neither YAML nor JSON"),
            (b"\xff\xfe\x00", "neither YAML nor JSON"),
            (b"\x00\x01\x02", "neither YAML nor JSON"),
        ],
    )
    def test_a_wrong_one_is_refused_in_a_line(
        self, tmp_path: Path, refusal: Refusal, content: str | bytes, says: str
    ) -> None:
        path = write(tmp_path, content)
        message = refusal(f'dynamic_skip:skip_set="{path}"')
        assert says in message
        assert len(message) < 400
        assert str(path) in message or "left out twice" in message or "names layer" in message

    @pytest.mark.parametrize(
        ("name", "says"),
        [
            ("absent.yaml", "No such file"),
            ("atuo", "neither auto, online, a list such as [12,13.mlp], nor a readable file"),
            (".", "directory"),
            ("~no-such-user-here/x", "No such file"),
            ('"a\\0b"', "nor a readable file"),
            ("x" * 5000, "nor a readable file"),
        ],
    )
    def test_one_that_cannot_be_opened_is_refused_in_a_line(
        self, refusal: Refusal, name: str, says: str
    ) -> None:
        assert says in refusal(f"dynamic_skip:skip_set={name}")

    def test_a_sublayer_in_it_is_refused_with_granularity_layer(
        self, tmp_path: Path, refusal: Refusal
    ) -> None:
        path = write(tmp_path, "num_layers: 6\nskipped: [3.mlp]\n")
        assert "granularity=layer" in refusal(f"dynamic_skip:skip_set={path},granularity=layer")

    def test_a_fill_that_it_cannot_use_is_refused(self, tmp_path: Path, refusal: Refusal) -> None:
        path = write(tmp_path, "num_layers: 6\nskipped: [3.mlp]\n")
        assert "kv_fill=mask has no effect" in refusal(f"dynamic_skip:skip_set={path},kv_fill=mask")
