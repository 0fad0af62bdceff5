"""Prints what files hold, how they are read, and what became of their rows."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime

from cli.console import out, table
from components.core.columns import EVENTS, Columns
from components.datasets.opened_files import OpenedFiles
from components.ingestion.load_files import JudgedFiles, LoadReport
from components.mapping.propose import Proposal
from components.mapping.rules import Role

MAX_EXAMPLE = 160
"""Characters of a rejected row that are shown."""


def show_file(opened: OpenedFiles, role: Role) -> None:
    """Prints what a file holds: its format, its columns and what they are read as, its times and event words."""
    read, part, proposal = opened.tables[role], opened.mapping.role(role), opened.proposals.get(role)
    out.print(f"\n{opened.files[role]}: {role}, {read.rows:,} rows of {_format(opened, role)}", soft_wrap=True)
    named: dict[str, list[str]] = {}
    for name, rule in part.fields.items():
        if rule.column is not None:
            named.setdefault(rule.column.partition(".")[0], []).append(name)
    for name, rule in part.attributes.items():
        named.setdefault(str(rule.column).partition(".")[0], []).append(f"{Columns.ATTRIBUTES}.{name}")
    rows = []
    for column in read.columns:
        names = named.get(column.name, [])
        details = _details(proposal, names[0]) if proposal is not None and names else ["", "", ""]
        rows.append([column.name, column.type, ", ".join(names) or "(not read)", *details])
    constants = [name for name, rule in part.fields.items() if rule.column is None]
    rows += [["(none)", "", name, "", "", str(part.fields[name].how)] for name in constants]
    table("columns", ["column", "type", "read as", "how sure", "missing", "samples"], rows)
    if proposal is None:
        return
    if proposal.time_range is not None:
        first, last = (f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M:%S}" for time in proposal.time_range)
        out.print(f"times: {first} to {last} UTC")
    if proposal.event_words:
        words = ", ".join(f"{word} ({count:,})" for word, count in list(proposal.event_words.items())[:20])
        out.print(f"words of the event column: {words}", soft_wrap=True)
    _print_notes(proposal)


def show_notes(opened: OpenedFiles) -> None:
    """Prints how each file is read, and which of its columns are not."""
    for role, path in opened.files.items():
        out.print(f"{path}: read as {role}, {_format(opened, role)}", soft_wrap=True)
        if (proposal := opened.proposals.get(role)) is not None:
            _print_notes(proposal)
        elif unused := opened.mapping.role(role).unused(opened.tables[role]):
            out.print(f"  not read: {', '.join(unused)}", soft_wrap=True)


def show_verdicts(judged: JudgedFiles) -> None:
    """Prints how many rows would be accepted, and the reasons of the others with an example each."""
    events, items = judged.events, judged.items
    out.print(
        f"would be accepted: {events.accepted:,} events ({events.duplicates:,} duplicates), {items.accepted:,} items",
        soft_wrap=True,
    )
    _show_reasons(judged.rejected, judged)


def show_load(name: str, report: LoadReport, judged: JudgedFiles) -> None:
    """Prints what a load stored, and the reasons of rejected rows with an example each."""
    rows = [["accepted", str(report.accepted)], ["duplicates", str(report.duplicates)]]
    rows += [["items added", str(report.items_added)], ["items updated", str(report.items_updated)]]
    rows += [[f"left out: {code}", str(count)] for code, count in judged.events.left_out.items()]
    rows += [[f"rejected: {code}", str(count)] for code, count in report.rejected.items()]
    table(f"{name}, load {report.load_id}", ["rows", "count"], rows)
    if report.resumed:
        out.print(f"load {report.load_id} had stopped before; it was continued")
    _show_reasons(report.rejected, judged)
    if report.rejected:
        out.print("rejected rows are kept, with their reason, in the table quarantine")


def comments(opened: OpenedFiles) -> dict[str, str]:
    """What to write behind the lines of a mapping, by names such as `events.timestamp`; no ids of users."""
    found = {}
    for role, proposal in opened.proposals.items():
        for name, sure in proposal.confidence.items():
            samples = "" if name == Columns.USER else ", ".join(proposal.samples.get(name, ()))
            found[f"{role}.{name}"] = sure + (f": {samples}" if samples else "")
    return found


def _show_reasons(rejected: Mapping[str, int], judged: JudgedFiles) -> None:
    rows = []
    for code, count in rejected.items():
        if (example := judged.examples.get(code)) is not None:
            number, reason, content = example
            row = {name: value for name, value in json.loads(content).items() if value is not None}
            content = json.dumps(row, ensure_ascii=False)
            shown = content if len(content) <= MAX_EXAMPLE else content[: MAX_EXAMPLE - 1] + "…"
            rows.append([code, str(count), str(number + 1), reason.partition(": ")[2] or reason, shown])
    if rows:
        table("rejected rows", ["reason", "count", "row", "explanation", "example"], rows)
    if words := judged.events.unknown_words:
        listed = ", ".join(f"{word!r} ({count:,})" for word, count in words.items())
        out.print(f"unknown event types: {listed}; known ones: {', '.join(EVENTS)}", soft_wrap=True)


def _print_notes(proposal: Proposal) -> None:
    if proposal.layout is not None:
        out.print(f"  layout: {proposal.layout}")
    for note in proposal.notes:
        out.print(f"  {note}", soft_wrap=True)
    if proposal.unused:
        out.print(f"  not read: {', '.join(proposal.unused)}", soft_wrap=True)


def _format(opened: OpenedFiles, role: Role) -> str:
    read = opened.tables[role]
    return ", ".join([read.format, *read.notes])


def _details(proposal: Proposal, name: str) -> list[str]:
    missing = proposal.null_shares.get(name)
    return [
        proposal.confidence.get(name, ""),
        "" if missing is None else f"{missing:.1%}",
        ", ".join(proposal.samples.get(name, ())),
    ]
