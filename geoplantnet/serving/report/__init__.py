"""The report of an area as documents that a planner can hand on: from the JSON of the process ``area-report``, nothing is computed here.

words      English and French, numbers as each writes them     html       one page, all inside it, under its own policy
content    the sections, before anything is drawn              pdf        the same on A4 pages
maps       the area on our own maps                            tables     CSV and GeoJSON
files      media types, names, policies                        xlsx       a workbook with what it is of
"""

from geoplantnet.serving.report.content import Content, Picture, content
from geoplantnet.serving.report.files import CSV, DRAWN, FORMATS, GEOJSON, HTML, PDF, POLICIES, XLSX, filename, written
from geoplantnet.serving.report.html import html_of
from geoplantnet.serving.report.maps import asked_layer, layers_of, pictures_of
from geoplantnet.serving.report.pdf import pdf_of
from geoplantnet.serving.report.tables import csv_of, geojson_of
from geoplantnet.serving.report.words import Words, clean
from geoplantnet.serving.report.xlsx import xlsx_of

__all__ = [
    "CSV",
    "DRAWN",
    "FORMATS",
    "GEOJSON",
    "HTML",
    "PDF",
    "POLICIES",
    "XLSX",
    "Content",
    "Picture",
    "Words",
    "asked_layer",
    "clean",
    "content",
    "csv_of",
    "filename",
    "geojson_of",
    "html_of",
    "layers_of",
    "pdf_of",
    "pictures_of",
    "written",
    "xlsx_of",
]
