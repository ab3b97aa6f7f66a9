"""Who is to be learned: the rows of a table (CSV, JSON lines, Parquet), or the pictures of a folder."""

import csv
import io
import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import PurePath

from ..consent import LINES, Consent
from ..file_names import check_name, is_hidden
from ..files import QUOTED, shown
from ..settings import METHODS, Value
from . import storage
from .results import printable

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
OTHERS = (".heic", ".heif", ".avif", ".jfif", ".gif", ".jxl", ".jp2", ".tga", ".psd", ".dng", ".cr2", ".nef", ".arw")
LIKE_PHOTO, LIKE_MASK = ("photo", "photos", "image"), ("mask", "masks")
CONSENT = tuple(f"consent_{line}" for line in LINES)
SETTINGS = {name for settings in METHODS.values() for name in settings}
SOME = 5  # names in a sentence
FOR_ALL = {"method", *CONSENT, *SETTINGS}
COLUMNS = {"id", *LIKE_PHOTO, *LIKE_MASK, *FOR_ALL}


class TableError(ValueError):
    """A table of which no row can be trusted."""


@dataclass(frozen=True)
class Row:
    """One person. photos, masks: places; one mask may serve all photos. method: of settings.METHODS. settings: only
    those that are said. consent: as Consent.LINES, those that are said. problem: why it cannot be learned, a sentence.
    """

    id: str
    photos: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()
    method: str = "learn"
    settings: Mapping[str, Value] = field(default_factory=dict)
    consent: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""


def read(table: str, common: Mapping[str, str] | None = None) -> list[Row]:
    """The rows of a table or folder, in order; of two with one id the second has a problem.

    common: settings, a method and a consent, for rows that do not say otherwise; a row leaves out what its method does
    not have. Raises TableError, Unreachable.
    """
    common = dict(common or {})
    check_common(common)
    records = from_folder(table) if storage.is_folder(table) else from_table(table)
    return without_twins(row_of(with_common(record, common), number, table) for number, record in enumerate(records, 1))


def from_folder(folder: str) -> Iterator[dict[str, object]]:
    files, _ = storage.names_in(folder)
    pictures = [place for place in files if place.lower().endswith(PICTURES)]
    shown_ones = [place for place in pictures if not is_hidden(PurePath(place).name)]
    if not shown_ones:
        raise TableError(f"There is no picture in {folder}. Known endings: {', '.join(PICTURES)}.")
    return ({"id": PurePath(place).stem, "photo": [place]} for place in shown_ones)


def left_out(table: str) -> str:
    """A sentence on pictures of other kinds and folders that lie in a folder of photos, and are no rows; or ""."""
    if not storage.is_folder(table):
        return ""
    files, folders = storage.names_in(table)
    names = (PurePath(place).name for place in (*(file for file in files if file.lower().endswith(OTHERS)), *folders))
    left = [shown(name) for name in names if not is_hidden(name)]
    named = ", ".join(left[:SOME]) + (", ..." if len(left) > SOME else "")
    return f"{len(left)} left out, since they are pictures of another kind, or folders: {named}." if left else ""


def from_table(table: str) -> Iterator[dict[str, object]]:
    """What is said of each, by column; empty cells are left out."""
    if (ending := PurePath(table).suffix.lower()) not in READERS:
        raise TableError(
            f"{shown(table, QUOTED)} is neither a folder nor a table. Tables end in: {', '.join(READERS)}."
        )
    records = READERS[ending](storage.read_bytes(table))
    for columns in dict.fromkeys(tuple(record) for record in records):
        check_columns(columns, table)
    said = [{name: value for name, value in record.items() if not is_empty(value)} for record in records]
    if not any(said):
        raise TableError(f"There is no row in {table}.")
    return filter(None, said)


def is_empty(value: object) -> bool:
    return not value.strip() if isinstance(value, str) else value is None or value == []


def from_csv(content: bytes) -> Sequence[Mapping[str, object]]:
    try:
        text = content.decode("utf-8-sig").lstrip("\r\n")
        delimiter = max(",;\t", key=text.partition("\n")[0].count)  # spreadsheets write that of their country
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter))
    except (UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"The table is no CSV in UTF-8: {error}.") from error
    names = [name.strip() for name in lines[0]] if lines else []
    if twice := [name for name in names if name and names.count(name) > 1]:
        raise TableError(f"Two columns of the table are called {shown(twice[0])}.")
    # Spreadsheets end lines with empty cells; a value without a column's name is for check_columns to refuse.
    told = (zip_longest(names, line, fillvalue="") for line in lines[1:])
    return [{name: cell for name, cell in cells if name or cell.strip()} for cells in told]


def from_json_lines(content: bytes) -> Sequence[Mapping[str, object]]:
    records = []
    for number, line in enumerate(content.decode("utf-8-sig", errors="replace").split("\n"), 1):
        try:
            record = json.loads(line) if line.strip() else {}
        except (ValueError, RecursionError) as error:
            raise TableError(f"Line {number} of the table is no JSON: {error}.") from error
        if not isinstance(record, dict):
            raise TableError(f'Line {number} of the table is no JSON object, as {{"id": "ann"}} is.')
        if record:
            records.append(record)
    return records


def from_parquet(content: bytes) -> Sequence[Mapping[str, object]]:
    try:
        from pyarrow import ArrowInvalid, parquet
    except ImportError:
        raise TableError("To read Parquet, install pyarrow, or save the table as CSV or JSON lines.") from None
    try:
        return parquet.read_table(io.BytesIO(content)).to_pylist()
    except ArrowInvalid as error:
        raise TableError(f"The table is no Parquet: {error}.") from error


READERS = {".csv": from_csv, ".jsonl": from_json_lines, ".ndjson": from_json_lines, ".parquet": from_parquet}


def check_columns(columns: Iterable[str], where: str) -> None:
    """Raise TableError for a column that means nothing: a typo would leave a setting at its default, unseen."""
    if unknown := [column for column in columns if column not in COLUMNS]:
        named = ", ".join(shown(column) for column in unknown)
        raise TableError(f"Nothing is known of {named} in {where}. Columns: {', '.join(sorted(COLUMNS))}.")


def check_common(common: Mapping[str, str]) -> None:
    """Raise TableError for what is said for all rows, and is wrong for each."""
    where = "what was said for all rows"
    check_columns(common, where)
    if foreign := [name for name in common if name not in FOR_ALL]:
        raise TableError(f"{foreign[0]} is each row's own, and cannot be in {where}.")
    if empty := [name for name, value in common.items() if is_empty(value)]:
        raise TableError(f"Nothing is said for {empty[0]} in {where}.")
    try:
        method_of({name: value for name, value in common.items() if name == "method"})
        consent_of({CONSENT[0]: "somebody", **common})
        for name in SETTINGS & common.keys():
            check_value(name, common[name])
    except ValueError as error:
        raise TableError(f"In {where}: {error}") from error


def check_value(name: str, value: str) -> None:
    """Raise ValueError where no method takes it."""
    wrong: list[ValueError] = []
    having = [settings[name] for settings in METHODS.values() if name in settings]
    for setting in having:
        try:
            setting.read(name, value)
        except ValueError as error:
            wrong.append(error)
    if len(wrong) == len(having):
        raise wrong[0]


def with_common(record: Mapping[str, object], common: Mapping[str, str]) -> dict[str, object]:
    """What is said for all, where a row's method has it, and what the row says."""
    foreign = SETTINGS - METHODS.get(called(record.get("method", common.get("method", "learn"))), {}).keys()
    return {**{name: value for name, value in common.items() if name not in foreign}, **record}


def row_of(record: Mapping[str, object], number: int, table: str) -> Row:
    """number: of the row, which names it where it has no id."""
    said = record.get("id")
    # Some systems give names of files with their accents apart.
    name = unicodedata.normalize("NFC", str(said)).strip() if is_name(said) else f"row {number}"
    row = Row(printable(name)[:QUOTED])
    try:
        if said is None:
            raise ValueError("The row has no id.")
        if not is_name(said) or check_name(name, folders=False) != name:
            raise ValueError(f"The id {shown(said)} is no plain name, such as 'ann'.")
        photos, masks = (places(record, names, table) for names in (LIKE_PHOTO, LIKE_MASK))
        if not photos:
            raise ValueError("The row has no photo.")
        method, settings = method_of(record)
        return Row(name, photos, masks, method, settings, consent_of(record))
    except ValueError as error:
        return replace(row, problem=str(error))
    except RecursionError:
        return replace(row, problem="The row holds lists in lists without end.")


def is_name(said: object) -> bool:
    return isinstance(said, (str, int, float)) and not isinstance(said, bool)


def places(record: Mapping[str, object], columns: Sequence[str], table: str) -> tuple[str, ...]:
    """Several in one cell are a list of JSON, or stand apart by ";"."""
    found: list[str] = []
    for said in (record[column] for column in columns if column in record):
        if isinstance(said, str):
            said = listed(said)
        if not isinstance(said, list) or not all(isinstance(one, str) for one in said):
            raise ValueError(f"{shown(said, QUOTED)} is no list of files.")
        found += [storage.beside(table, one.strip()) for one in said if one.strip()]
    return tuple(found)


def listed(said: str) -> object:
    """A list of JSON, or names of which one may begin like such a list."""
    if said.lstrip().startswith("["):
        with suppress(ValueError, RecursionError):
            return json.loads(said)
    return said.split(";")


def called(method: object) -> str:
    return str(method).strip().lower()


def method_of(record: Mapping[str, object]) -> tuple[str, dict[str, Value]]:
    """A row's method and settings. Raises ValueError with a sentence."""
    method = called(record.get("method", "learn"))
    if method not in METHODS:
        raise ValueError(f"method is {shown(method)}. Use one of: {', '.join(METHODS)}.")
    known = METHODS[method]
    said = {name: value for name, value in record.items() if name in SETTINGS}
    if foreign := [name for name in said if name not in known]:
        raise ValueError(f"{', '.join(foreign)}: no setting of method {method}. Leave the cell empty.")
    return method, {name: known[name].read(name, value) for name, value in said.items()}


def consent_of(record: Mapping[str, object]) -> dict[str, str]:
    """Raises ValueError with a sentence."""
    said = {line: str(record.get(column, "")).strip() for line, column in zip(LINES, CONSENT)}
    try:
        Consent().changed(**said)
    except ValueError as error:
        raise ValueError(f"The consent {error}.") from error
    return {line: text for line, text in said.items() if text}


def without_twins(rows: Iterable[Row]) -> list[Row]:
    """With a problem for those whose id is taken, in whatever capitals: many systems have but one file for both."""
    first: dict[str, str] = {}
    result = []
    for number, row in enumerate(rows, 1):
        while (folded := row.id.casefold()) in first:
            problem = f"There is a row {shown(first[folded])} before this one: each id is one persona."
            row = replace(row, id=f"{row.id} (row {number})", problem=row.problem or problem)
        first[folded] = row.id
        result.append(row)
    return result
