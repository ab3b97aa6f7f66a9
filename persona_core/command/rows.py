"""Who is to be learned: the rows of a table (CSV, JSON lines, Parquet), or the pictures of a folder."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath

from ..consent import LINES, Consent
from ..file_names import check_name, is_hidden
from ..files import QUOTED, shown
from ..settings import METHODS, Value
from . import storage

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
LIKE_PHOTO, LIKE_MASK = ("photo", "photos", "image"), ("mask", "masks")
CONSENT = tuple(f"consent_{line}" for line in LINES)
SETTINGS = {name for settings in METHODS.values() for name in settings}
COLUMNS = {"id", "method", *LIKE_PHOTO, *LIKE_MASK, *CONSENT, *SETTINGS}


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

    common: settings, and a method, for rows that do not say otherwise. Raises TableError, Unreachable.
    """
    common = dict(common or {})
    check_columns(common, "what was said for all rows")
    records = from_folder(table) if storage.is_folder(table) else from_table(table)
    return without_twins(row_of({**common, **record}, number, table) for number, record in enumerate(records, 1))


def from_folder(folder: str) -> Iterator[dict[str, object]]:
    pictures = [place for place in storage.names_in(folder) if place.lower().endswith(PICTURES)]
    shown_ones = [place for place in pictures if not is_hidden(PurePath(place).name)]
    if not shown_ones:
        raise TableError(f"There is no picture in {folder}. Known endings: {', '.join(PICTURES)}.")
    return ({"id": PurePath(place).stem, "photo": [place]} for place in shown_ones)


def from_table(table: str) -> Iterator[dict[str, object]]:
    """What is said of each, by column; empty cells are left out."""
    readers = {".csv": from_csv, ".jsonl": from_json_lines, ".ndjson": from_json_lines, ".parquet": from_parquet}
    ending = PurePath(table).suffix.lower()
    if ending not in readers:
        raise TableError(
            f"{shown(table, QUOTED)} is neither a folder nor a table. Tables end in: {', '.join(readers)}."
        )
    records = readers[ending](storage.read_bytes(table))
    if not records:
        raise TableError(f"There is no row in {table}.")
    for columns in dict.fromkeys(tuple(record) for record in records):
        check_columns(columns, table)
    return ({name: value for name, value in record.items() if value not in (None, "", [])} for record in records)


def from_csv(content: bytes) -> Sequence[Mapping[str, object]]:
    try:
        text = content.decode("utf-8-sig")
        delimiter = max(",;\t", key=text.partition("\n")[0].count)  # spreadsheets write that of their country
        reader = csv.DictReader(io.StringIO(text, newline=""), restkey="", strict=True, delimiter=delimiter)
        return [{name.strip(): value for name, value in record.items()} for record in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"The table is no CSV in UTF-8: {error}.") from error


def from_json_lines(content: bytes) -> Sequence[Mapping[str, object]]:
    records = []
    for number, line in enumerate(content.decode("utf-8-sig", errors="replace").splitlines(), 1):
        try:
            record = json.loads(line) if line.strip() else {}
        except ValueError as error:
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


def check_columns(columns: Iterable[str], where: str) -> None:
    """Raise TableError for a column that means nothing: a typo would leave a setting at its default, unseen."""
    if unknown := [column for column in columns if column not in COLUMNS]:
        named = ", ".join(shown(column) for column in unknown)
        raise TableError(f"Nothing is known of {named} in {where}. Columns: {', '.join(sorted(COLUMNS))}.")


def row_of(record: Mapping[str, object], number: int, table: str) -> Row:
    """number: of the row, which names it where it has no id."""
    row = Row(str(record.get("id") or f"row {number}").strip())
    try:
        if "id" not in record:
            raise ValueError("The row has no id.")
        if check_name(row.id, folders=False) != row.id:
            raise ValueError(f"The id {shown(row.id)} is no plain name, such as 'ann'.")
        photos, masks = (places(record, names, table) for names in (LIKE_PHOTO, LIKE_MASK))
        if not photos:
            raise ValueError("The row has no photo.")
        method, settings = method_of(record)
        return Row(row.id, photos, masks, method, settings, consent_of(record))
    except ValueError as error:
        return replace(row, problem=str(error))


def places(record: Mapping[str, object], columns: Sequence[str], table: str) -> tuple[str, ...]:
    """Several in one cell are a list of JSON, or stand apart by ";"."""
    found: list[str] = []
    for said in (record[column] for column in columns if column in record):
        if isinstance(said, str):
            said = json.loads(said) if said.lstrip().startswith("[") else said.split(";")
        if not isinstance(said, list) or not all(isinstance(one, str) for one in said):
            raise ValueError(f"{shown(said, QUOTED)} is no list of files.")
        found += [storage.beside(table, one.strip()) for one in said if one.strip()]
    return tuple(found)


def method_of(record: Mapping[str, object]) -> tuple[str, dict[str, Value]]:
    """A row's method and settings. Raises ValueError with a sentence."""
    method = str(record.get("method", "learn")).strip().lower()
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
        taken = first.setdefault(row.id.casefold(), row.id)
        if taken is not row.id and not row.problem:
            problem = f"There is a row {shown(taken)} before this one: each id is one persona."
            row = replace(row, id=f"{row.id} (row {number})", problem=problem)
        result.append(row)
    return result
