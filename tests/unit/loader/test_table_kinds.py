"""Kinds of tables that other readers get wrong: workbooks and CSV."""
# ruff: noqa: E501 - rows as they come out

from __future__ import annotations

import io

import openpyxl
import pytest
from memgpt_loader.formats import NoteKind
from memgpt_loader.formats.office.number_format import displayed
from memgpt_loader.tables import TableRow, table_lines
from openpyxl.cell.rich_text import CellRichText, TextBlock
from openpyxl.cell.text import InlineFont

from tests.unit.loader.kinds import read, read_bytes


def test_formulas_that_were_never_calculated_are_noted() -> None:
    came = read("xlsx_nocache_a.xlsx")
    assert (
        came.text
        == "# Sheet\n\nItem | Qty | Total\nItem: Rope | Qty: 3 | Total: =B2*4\nItem: Buoy | Qty: 2 | Total: =B3*9"
    )
    assert came.notes == {NoteKind.UNCALCULATED: 2}


def test_numbers_are_read_as_displayed() -> None:
    assert read("xlsx_formats_a.xlsx").pages[0].split("\n")[-1] == (
        "Name: Ada | Share: 12.5% | Start: 07:30 | Lasts: 30:15 | Born: 09/04/1987 | Code: 00042 | Price: 1,234.50 EUR"
    )


@pytest.mark.parametrize(
    ("value", "code", "expected"),
    [
        (1234567.891, "#,##0", "1,234,568"),
        (-5.5, "#,##0.00;(#,##0.00)", "(5.50)"),
        (-5.5, "0.0;[Red]-0.0", "-5.5"),
        (0, '0;-0;"nil"', "nil"),
        (5551234, "000-0000", "555-1234"),
        (0.75, "# ?/?", "3/4"),
        (1.5, "# ?/?", "1 1/2"),
        (12345, "0.00E+00", "1.23E+04"),
        (44927.5, "d mmmm yyyy h:mm AM/PM", "1 January 2023 12:00 PM"),
        (1500000, '0.0,,"M"', "1.5M"),
        (12, "[$€-407] #,##0.00", "€ 12.00"),
        (3, '0 "pcs"', "3 pcs"),
        (45000, "ddd d mmm", "Wed 15 Mar"),
        (0.5, "mm:ss", "00:00"),
        (2021, "General", "2021"),
        (0.1, "General", "0.1"),
        (60, "yyyy-mm-dd", "1900-02-28"),
    ],
)
def test_number_formats(value: float, code: str, expected: str) -> None:
    assert displayed(value, code) == expected


def test_each_table_of_a_sheet_has_its_own_header() -> None:
    assert read("xlsx_two_tables_a.xlsx").text == (
        "# Sheet\n\nCargo | Tons\nCargo: Oak | Tons: 12\nCargo: Pine | Tons: 30\n"
        "Pilot | Phone\nPilot: Sven | Phone: ext 41\nPilot: Maja | Phone: ext 42"
    )


def test_a_header_of_two_rows() -> None:
    lines = read("xlsx_two_level.xlsx").text.split("\n")
    assert lines[-1] == "Region: South | 2023 Income: 80 | 2023 Cost: 50 | 2024 Income: 95 | 2024 Cost: 52"


def test_a_merged_value_counts_for_each_of_its_rows() -> None:
    assert "Group: North | Name: Turku | Count: 5" in read("xlsx_mergedrows_a.xlsx").text


def test_strict_workbooks_are_read() -> None:
    assert read("xlsx_strict.xlsx").text == (
        "# Plan\n\nPROGRESS REPORT\nTask | Owner | Status\nTask: Hull paint | Owner: Ana | Status: Done\n"
        "Task: Rigging | Owner: Bo | Status: Open"
    )


def test_comments_links_and_text_boxes_are_read() -> None:
    assert read("xlsx_comment_a.xlsx").text.endswith("Comment on B2 (surveyor): Measured after the refit at Bergen")
    assert "Where: [open](https://harbour.example/statute.pdf)" in read("xlsx_link_a.xlsx").text
    assert read("xlsx_textbox_a.xlsx").text.endswith("Note in a box: stock counted on Friday")


def test_the_header_may_stand_below_a_preamble() -> None:
    assert read("csv_preamble_a.csv").text == (
        "Account | DE00 1234\nPeriod | March 2025\nDate | Payee | Amount\n"
        "Date: 01.03.2025 | Payee: Chandler | Amount: -12,50\nDate: 04.03.2025 | Payee: Sailmaker | Amount: -80,00"
    )


def test_quotes_may_be_escaped() -> None:
    assert 'remark: He said "ahoy, all" and left' in read("csv_backslash_a.csv").text


def test_an_open_quote_costs_its_own_row_only() -> None:
    came = read("csv_openquote_a.csv")
    assert came.text.split("\n")[1:] == [
        'part: pipe | size: "5 inch | price: 20', "part: rod | size: 6 inch | price: 30", "part: bolt | size: 1 inch | price: 2",
    ]  # fmt: skip
    assert came.notes == {NoteKind.BAD_RECORD: 1}


def test_a_cell_of_several_lines_stays_one() -> None:
    came = read_bytes(b'name,said\nAda,"first\nsecond"\nBob,third\n', "a.csv")
    assert came.text == "name | said\nname: Ada | said: first second\nname: Bob | said: third"
    assert not came.notes


def test_a_declared_separator_is_no_row() -> None:
    assert read("csv_sep_line_a.csv").text == "Name | Price\nName: Rope | Price: 1,50\nName: Tar | Price: 2,75"


def test_a_blank_row_within_a_table_changes_nothing() -> None:
    rows = [["Name", "Town"], ["Ada", "London"], [], ["Bob", "Riga"], ["Cy", "Visby"]]
    assert list(table_lines(rows)) == [
        "Name | Town", "Name: Ada | Town: London", "Name: Bob | Town: Riga", "Name: Cy | Town: Visby",
    ]  # fmt: skip


def test_a_title_tells_a_new_table() -> None:
    rows = [["Team A"], ["Name", "Role"], ["Ada", "lead"], [], ["Team B"], ["Name", "Role"], ["Bob", "hand"]]
    assert list(table_lines(rows))[3:] == ["Team B", "Name | Role", "Name: Bob | Role: hand"]


def test_a_bold_row_behind_a_blank_one_is_a_header() -> None:
    rows: list[TableRow | list[str]] = [
        TableRow(["Name", "Town"], heading=True),
        ["Ada", "London"],
        [],
        TableRow(["Ship", "Port"], heading=True),
        ["Vesta", "Riga"],
    ]
    assert list(table_lines(rows))[-1] == "Ship: Vesta | Port: Riga"


def test_headers_and_exponents_of_a_workbook_are_read() -> None:
    buffer = io.BytesIO()
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    raised = InlineFont(vertAlign="superscript")
    sheet["A1"] = CellRichText("10", TextBlock(raised, "6"), " on the 5", TextBlock(raised, "th"))
    header, footer = sheet.oddHeader, sheet.oddFooter
    assert header is not None
    assert footer is not None
    header.center.text, header.right.text = "Warehouse 7 && yard", "&A"
    footer.center.text = "Page &P of &N"
    book.save(buffer)
    assert read_bytes(buffer.getvalue(), "a.xlsx").text == "# Sheet\n\n10^6 on the 5th\nHeader: Warehouse 7 & yard"


@pytest.mark.parametrize(
    ("source", "rows"),
    [
        ("a^b\n1^2\n3^4\n", "a | b\na: 1 | b: 2\na: 3 | b: 4"),
        ("a~b\n1~2\n", "a | b\na: 1 | b: 2"),
        ("name\xa6price\nRope\xa610\n", "name | price\nname: Rope | price: 10"),
        ("city,far\nRome,~5\nOslo,~6,x\n", "city | far\ncity: Rome | far: ~5\ncity: Oslo | far: ~6 | x"),
        ("# made by a program\n# in May\nname,price\nRope,10\n", "# made by a program\n# in May\nname | price\nname: Rope | price: 10"),
        ("name,price\n'Rope, thick',10\n'It''s tar',6\n", "name | price\nname: Rope, thick | price: 10\nname: It's tar | price: 6"),
        ("note\nGood, but late, and wet\nFine\nBad, sad, mad, and so on\nWell, yes\n", "note\nGood, but late, and wet\nFine\nBad, sad, mad, and so on\nWell, yes"),
        ("it's,a\ndon't,b\n", "it's | a\nit's: don't | a: b"),
    ],
)  # fmt: skip
def test_rarer_separators_quotes_and_comments(source: str, rows: str) -> None:
    assert read_bytes(source.encode(), "a.csv").text == rows
