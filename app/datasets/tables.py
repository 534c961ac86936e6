from typing import Any

from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base, Json
from app.core.terms import list_indexes
from app.uploads.tables import UploadedColumns
from whetstone.contract.datasets import DatasetFacts
from whetstone.contract.preprocessing import Preprocessing
from whetstone.contract.previews import DatasetPreview


class DatasetRow(UploadedColumns, Base):
    __tablename__ = "datasets"
    __table_args__ = list_indexes("datasets")

    preprocessing: Mapped[Any | None] = mapped_column(Json(Preprocessing))
    facts: Mapped[DatasetFacts | None] = mapped_column(Json(DatasetFacts))
    preview: Mapped[DatasetPreview | None] = mapped_column(Json(DatasetPreview), deferred=True)

    @property
    def kind(self) -> str | None:
        return None if self.facts is None else self.facts.format
