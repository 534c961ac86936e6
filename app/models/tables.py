from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base, Id, Json
from app.core.terms import list_indexes
from app.uploads.tables import UploadedColumns
from whetstone.contract.models import ModelFacts


class ModelRow(UploadedColumns, Base):
    __tablename__ = "models"
    __table_args__ = list_indexes("models")

    facts: Mapped[ModelFacts | None] = mapped_column(Json(ModelFacts))
    imported_file_id: Mapped[Id | None] = mapped_column(ForeignKey("files.id"), index=True)
    """Its ONNX form, if it came in another. Steps read this one, so that no other needs a toolkit."""

    @property
    def kind(self) -> str | None:
        return None if self.facts is None else self.facts.format

    @property
    def file_ids(self) -> tuple[str, ...]:
        return super().file_ids if self.imported_file_id is None else (*super().file_ids, self.imported_file_id)
