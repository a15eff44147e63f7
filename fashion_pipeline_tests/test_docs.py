from __future__ import annotations

import ast
import re
import runpy
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import click
import dagster as dg
import pytest
import yaml

from fashion_pipeline.cli.main import cli
from fashion_pipeline.cli.report import InSinks, store_report
from fashion_pipeline.definitions import defs
from fashion_pipeline.doctor.findings import Tried
from fashion_pipeline.embedding.encode import EmbedCounts
from fashion_pipeline.images.fetch import FetchCounts
from fashion_pipeline.images.quality import JudgeCounts
from fashion_pipeline.outcomes import Reason, Status
from fashion_pipeline.settings import Settings
from fashion_pipeline.shop.catalogue import ReadCounts
from fashion_pipeline.sinks.drift import Kind
from fashion_pipeline.sinks.postgres.rows import RowCounts
from fashion_pipeline.sinks.qdrant.points import PointCounts
from fashion_pipeline.stores import DEFAULT_SWEEP, Quality, Store
from fashion_pipeline_tests.builders import shop

CHECKOUT = Path(__file__).parents[1]
DOCS = CHECKOUT / "docs"
PAGES = [*sorted(DOCS.glob("*.md")), CHECKOUT / "README.md", CHECKOUT / "CONTRIBUTING.md"]
TEXTS = {path.name: path.read_text("utf-8") for path in PAGES}
MAKEFILE = (CHECKOUT / "Makefile").read_text("utf-8")
TARGETS = set(re.findall(r"^([a-z]+):.*## ", MAKEFILE, flags=re.MULTILINE))
COMMANDS: dict[str, click.Command] = dict(cli.commands)
VARIABLES = {
    *(f"FASHION_{name.upper()}" for name in Settings.model_fields if name != "quality"),
    *(f"FASHION_QUALITY__{name.upper()}" for name in Quality.model_fields),
}
OTHER_VARIABLES = {"FASHION_TEST_DATABASE_URL", "FASHION_TEST_QDRANT_URL", "FASHION_QUALITY__", "FASHION_"}
COUNTED = {
    "raw_products": ReadCounts,
    "fetched_images": FetchCounts,
    "quality_passed": JudgeCounts,
    "embeddings": EmbedCounts,
    "postgres_products": RowCounts,
    "qdrant_points": PointCounts,
}


def rows(text: str) -> dict[str, list[str]]:
    """Return the rows of all tables of a page: by each name in code in the first cell, the cells."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("| `"):
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            found.update((name, cells) for name in re.findall(r"`([^`]+)`", cells[0]))
    return found


def sections(text: str) -> dict[str, str]:
    """Return the text below each heading of the second level."""
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return {heading.strip().lower(): body for heading, body in zip(parts[1::2], parts[2::2], strict=True)}


def code(text: str) -> Iterator[str]:
    """Yield what is written as code: lines of fenced blocks, and spans."""
    for position, part in enumerate(re.split(r"^```.*$", text, flags=re.MULTILINE)):
        yield from part.splitlines() if position % 2 else re.findall(r"`([^`\n]+)`", part)


def parameters(command: click.Command) -> list[click.Parameter]:
    """Return the arguments and options of a command, and of those below it."""
    below = command.commands.values() if isinstance(command, click.Group) else ()
    return [*command.params, *(parameter for each in below for parameter in each.params)]


# --- nothing is missing -----------------------------------------------------------------------------


def test_every_setting_is_documented_with_its_default() -> None:
    """Each FASHION_ variable, the nested ones too, has a row in settings.md that shows its default."""
    found = rows(sections(TEXTS["settings.md"])["variables"])
    assert set(found) >= VARIABLES
    plain = {f"FASHION_{name.upper()}": field.default for name, field in Settings.model_fields.items()}
    nested = {f"FASHION_QUALITY__{name.upper()}": field.default for name, field in Quality.model_fields.items()}
    for name, default in (plain | nested).items():
        if name in VARIABLES and default not in {None, ""}:
            assert found[name][1] == f"`{default}`", name


def test_every_key_of_a_store_is_documented_with_its_default() -> None:
    """Each key of stores.yaml, those below ``quality`` too, has a row that shows its default, or that it is needed."""
    found = rows(sections(TEXTS["settings.md"])["stores.yaml"])
    for name, field in {**Store.model_fields, **Quality.model_fields}.items():
        assert name in found
        if field.is_required():
            assert found[name][1] == "needed", name
        elif isinstance(field.default, bool | int | float | str):
            shown = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
            assert found[name][1] == f"`{shown}`", name


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_is_documented_with_its_options(name: str) -> None:
    """Each command has a section in commands.md that names its arguments and every option."""
    section = sections(TEXTS["commands.md"])[name]
    assert f"fashion-pipeline {name}" in section
    for below in getattr(COMMANDS[name], "commands", ()):
        assert f"fashion-pipeline {name} {below}" in section
    for parameter in parameters(COMMANDS[name]):
        if isinstance(parameter, click.Argument):
            assert str(parameter.name).upper() in section
        else:
            assert {option for option in parameter.opts if option.startswith("--")} <= set(rows(section)), parameter


def test_the_options_of_every_command_are_documented() -> None:
    """What stands before the command's name is documented too."""
    introduction = TEXTS["commands.md"].split("\n## ")[0]
    options = {option for parameter in cli.params for option in parameter.opts}
    assert options | {"-h", "--help"} <= set(rows(introduction))


@pytest.mark.parametrize("error", [0, 1, 2, 130])
def test_every_exit_code_is_documented(error: int) -> None:
    """The four exit codes of the command line are explained."""
    assert f"\n| {error} | " in sections(TEXTS["commands.md"])["exit codes"]


def test_every_key_of_the_json_objects_is_documented(tmp_path: Path) -> None:
    """A script finds every key that ``--json`` prints in commands.md, and of hits in assets.md."""
    assert set(store_report({}, {}, ())) <= set(rows(sections(TEXTS["commands.md"])["the json object"]))
    of_status = sections(TEXTS["commands.md"])["status"]
    assert all(f"`{key}`" in of_status for key in InSinks().as_json())
    payload = shop(tmp_path, count=1).desired().points[0].payload
    assert set(payload) <= set(rows(sections(TEXTS["assets.md"])["qdrant_points"]))


def test_everything_that_the_doctor_tries_is_documented() -> None:
    """Each row of the doctor's table is explained in commands.md, under its label and its name in JSON."""
    found = rows(sections(TEXTS["commands.md"])["doctor"])
    assert {tried.value: tried.label for tried in Tried}.items() <= {
        name: cells[1] for name, cells in found.items()
    }.items()


def test_every_reason_is_documented_in_its_own_words() -> None:
    """Each reason has a row in outcomes.md with the words the command line prints, when it is tried again, and advice."""
    found = rows(TEXTS["outcomes.md"])
    for reason in Reason:
        assert reason.value in found, reason
        assert found[reason.value][1] == reason.text
        assert all(found[reason.value][2:4]), reason
    assert {status.value for status in Status} <= set(rows(sections(TEXTS["outcomes.md"])["statuses"]))


def test_every_kind_of_drift_is_documented() -> None:
    """Whatever ``reconcile`` may print stands in a table."""
    assert {kind.value for kind in Kind} <= set(rows(sections(TEXTS["how-it-works.md"])["drift"]))


def test_every_asset_is_documented_with_what_it_counts() -> None:
    """Each asset has a section in assets.md that names every number of its ``this_run/`` metadata."""
    found = sections(TEXTS["assets.md"])
    assets = {key.to_user_string() for key in defs.resolve_asset_graph().materializable_asset_keys}
    assert assets == set(COUNTED)
    for asset in assets:
        for field in fields(COUNTED[asset]):
            if field.type != "str":  # only numbers are reported
                assert f"`{field.name}`" in found[asset], f"{asset}: {field.name}"


def test_every_check_sensor_schedule_job_resource_and_pool_is_documented() -> None:
    """Whatever the UI shows by name is explained in assets.md."""
    text, repository = TEXTS["assets.md"], defs.get_repository_def()
    graph = defs.resolve_asset_graph()
    names = {key.name for key in graph.asset_check_keys}
    names |= {sensor.name for sensor in repository.sensor_defs}
    names |= {job.name for job in repository.get_all_jobs() if not job.name.startswith("__")}
    names |= set(repository.get_top_level_resources())
    assert names <= set(rows(text))
    pools = {pool for key in graph.get_all_asset_keys() for pool in graph.get(key).pools or ()}
    assert pools
    assert all(f"pool `{pool}`" in text for pool in pools)


def test_the_name_of_every_schedule_follows_the_documented_pattern() -> None:
    """A sweep's name can be worked out from its time with what assets.md says."""
    from fashion_pipeline.defs.automation import _sweep

    example = re.search(r"`([^`]+)` is `(sweep_[^`]+)`", TEXTS["assets.md"])
    assert example is not None
    assert _sweep(example[1]).name == example[2]
    assert _sweep(DEFAULT_SWEEP).name in rows(TEXTS["assets.md"])


def test_every_field_that_a_run_may_configure_is_documented() -> None:
    """The fields of each resource stand beside it, and every configuration shown is accepted by the job."""
    found = rows(sections(TEXTS["assets.md"])["resources"])
    for name, resource in defs.get_repository_def().get_top_level_resources().items():
        schema = resource.config_schema.config_type
        for field in getattr(schema, "fields", {}) or {}:
            assert f"`{field}`" in found[name][-1], f"{name}: {field}"
    job = defs.resolve_job_def("ingest_store")
    shown = [
        yaml.safe_load(block)
        for page in ("assets.md", "ui.md")
        for block in re.findall(r"```yaml\n(.*?)```", TEXTS[page], flags=re.DOTALL)
    ]
    assert shown
    for configuration in shown:
        dg.validate_run_config(job, configuration)


def test_every_make_target_is_documented() -> None:
    """Each target that ``make help`` lists has a row in commands.md."""
    found = set(rows(sections(TEXTS["commands.md"])["make"]))
    assert {f"make {target}" for target in TARGETS} <= found


def test_every_page_is_in_the_sites_navigation() -> None:
    """A page that mkdocs does not list is not found; one that is not there breaks the site."""
    listed = re.findall(r"[\w-]+\.md", (CHECKOUT / "mkdocs.yml").read_text("utf-8").partition("\nnav:")[2])
    assert sorted(listed) == sorted(path.name for path in DOCS.glob("*.md"))


def test_the_diagram_of_the_rooms_is_up_to_date() -> None:
    """The diagram shows the layers of the import contract and the imports of the source: rooms.py draws it again."""
    script = DOCS / "img" / "rooms.py"
    assert script.with_suffix(".svg").read_text("utf-8") == runpy.run_path(str(script))["draw"]()


def test_every_room_is_documented() -> None:
    """Each folder and module at the top of the package has a row in architecture.md."""
    package = CHECKOUT / "fashion_pipeline"
    rooms = {path.stem for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert rooms - {"__init__"} <= set(rows(sections(TEXTS["architecture.md"])["the rooms"]))


def test_the_glossary_is_short() -> None:
    """A reader can learn the words: there are at most 30, each explained once."""
    terms = re.findall(r"^\| \*(.+?)\* \|", sections(TEXTS["architecture.md"])["glossary"], flags=re.MULTILINE)
    assert 20 <= len(terms) <= 30
    assert len(set(terms)) == len(terms)


# --- nothing is invented ----------------------------------------------------------------------------


@pytest.mark.parametrize("page", sorted(TEXTS))
def test_no_link_is_dead(page: str) -> None:
    """Relative links lead to a file that is there, and to a heading in it."""
    path = next(path for path in PAGES if path.name == page)
    for link in re.findall(r"\]\(([^)\s]+)\)", TEXTS[page]):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text("utf-8"), flags=re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
            assert anchor in anchors, link


@pytest.mark.parametrize("page", sorted(TEXTS))
def test_no_command_option_or_target_is_invented(page: str) -> None:
    """What a page shows as code can be typed: commands with their options, and targets of make."""
    for line in code(TEXTS[page]):
        if line.startswith("fashion-pipeline: "):  # an error's own words
            continue
        typed = line.split(" #")[0]
        for name, rest in re.findall(r"\bfashion-pipeline (?:-v )?([a-z]+)([^|;]*)", typed):
            assert name in COMMANDS, line
            known = {option for parameter in parameters(COMMANDS[name]) for option in parameter.opts} | {"--help"}
            assert set(re.findall(r"(?<!\S)\[?(--[a-z-]+)", rest)) <= known, line
        assert set(re.findall(r"(?:^|[;&] *|\s)make ([a-z]+)\b", typed)) <= TARGETS, line


@pytest.mark.parametrize("page", sorted(TEXTS))
def test_no_setting_is_invented(page: str) -> None:
    """A FASHION_ variable that a page names is one, but for the misspelt one that shows the error."""
    named = set(re.findall(r"\bFASHION_[A-Z_]*", TEXTS[page]))
    assert named <= VARIABLES | OTHER_VARIABLES | ({"FASHION_DATABSE_URL"} if page == "troubleshooting.md" else set())


_A_LIBRARYS_WORDS = re.compile(r"\(.*\)|connection failed.*refused|<block end>.*|\bfound character.*|\bid, url.*")
"""PyYAML's, libpq's and OpenSSL's; and the names of all keys, which are the models'."""


def test_every_error_shown_is_one_that_the_code_raises() -> None:
    """The sentences in troubleshooting.md are made of the source's own words: who searches for one finds it."""
    pieces = {
        " ".join(piece.split())
        for path in (CHECKOUT / "fashion_pipeline").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for piece in node.value.split("%s")
        if len(piece.strip()) >= 8
    }
    in_order = sorted(pieces, key=len, reverse=True)
    shown = re.findall(r"```text\n(.*?)```", TEXTS["troubleshooting.md"], flags=re.DOTALL)
    sentences = [line for block in shown for line in block.splitlines()]
    assert len(sentences) >= 20
    for sentence in sentences:
        rest = sentence
        for piece in in_order:
            rest = rest.replace(piece, " ")
        rest = _A_LIBRARYS_WORDS.sub("", rest)
        assert len(_words(rest)) <= len(_words(sentence)) / 2, f"{sentence}: not in the source: {_words(rest)}"


def _words(text: str) -> list[str]:
    """Return the plain words of a sentence: no name, address or number."""
    return re.findall(r"(?<![\w/.:'\"$-])[a-z]{3,}(?![\w/.:='\"-])", text)


@pytest.mark.parametrize("page", ["docs/reliability.md", "SECURITY.md"])
def test_every_promise_names_a_test_that_exists(page: str) -> None:
    """A promise is worth its test: each one that is named is there, and each row of the tables names one."""
    tests = "\n".join(path.read_text("utf-8") for path in (CHECKOUT / "fashion_pipeline_tests").rglob("test_*.py"))
    there = set(re.findall(r"^ *(?:async )?def (test_\w+)", tests, flags=re.MULTILINE))
    text = (CHECKOUT / page).read_text("utf-8")
    named = set(re.findall(r"`(test_\w+)`", text))
    assert named - there == set()
    promises = [line for line in text.splitlines() if re.match(r"\| (?!promise|what happens|fault|--)", line)]
    assert [line for line in promises if "`test_" not in line and not line.startswith("|---")] == []
    assert len(promises) > 20
